"""Where activations are recorded: the four inputs that the seven products of a layer read."""

from __future__ import annotations

from dataclasses import dataclass

from dawn_export.quantization.calibration_file import NORMS
from dawn_models import ModelConfig


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


def sites_of(config: ModelConfig) -> tuple[Site, ...]:
    """Lists the sites of a model, layer by layer in the order of computation."""
    widths = {"o_proj": config.query_size, "down_proj": config.intermediate_size}
    sites = []
    for layer in range(config.num_layers):
        prefix = f"layers.{layer}"
        for norm, alone in zip(NORMS, widths, strict=True):
            readers = tuple(f"{prefix}.{linear}" for linear in NORMS[norm])
            sites.append(Site(f"{prefix}.{norm}", readers, config.hidden_size, True))
            sites.append(Site(f"{prefix}.{alone}", (f"{prefix}.{alone}",), widths[alone], False))
    return tuple(sites)
