"""Where activations are recorded: what the products of a layer read, as the anatomy has it."""

from __future__ import annotations

from dataclasses import dataclass

from dawn_models import ModelConfig
from dawn_models.anatomy import full_name, inputs, layer_parts, split_name


@dataclass(frozen=True, slots=True)
class Site:
    """The common input of some products.

    Attributes:
        name: The norm it comes from, such as `layers.3.mlp_norm`, or else the one product that
            reads it, such as `layers.3.down_proj`.
        linears: Full names of the products.
        width: Number of channels.
        smoothed: Whether a norm precedes it, into which a smoothing can be folded.
    """

    name: str
    linears: tuple[str, ...]
    width: int
    smoothed: bool

    @property
    def layer(self) -> int:
        """Number of its layer."""
        number, _ = split_name(self.name)
        if number is None:
            raise ValueError(f"{self.name} is in no layer")
        return number

    @property
    def kind(self) -> str:
        """Its name in its layer, such as `mlp_norm`."""
        return split_name(self.name)[1]


def sites_of(config: ModelConfig) -> tuple[Site, ...]:
    """Lists the sites of a model, layer by layer in the order of computation."""
    return tuple(
        Site(
            full_name(layer, found.name),
            tuple(full_name(layer, linear.name) for linear in found.readers),
            found.width,
            found.smoothed,
        )
        for layer in range(config.num_layers)
        for found in inputs(layer_parts(config, config.kind(layer)))
    )
