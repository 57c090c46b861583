"""Families as one would add them: a file like this, and their names among `FAMILIES`.

`QWEN3` is Qwen3 that denoises: norms of queries and keys, heads of a width of their own, no biases.
`MIXED` has layers of two kinds: `mlp_widths` gives the width of each MLP, and `normed` the layers
whose queries and keys are normed.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from dawn_models import FAMILIES, Family, LayerKind, ModelConfig
from dawn_models.families import qwen
from dawn_models.families.table import FieldTable
from dawn_models.fields import Fields
from support.checkpoints import write_checkpoint


def _qwen3(config: Fields, generation: Fields) -> ModelConfig:
    head_dim = config.integer("head_dim", minimum=2)
    return qwen.qwen_config(
        config, generation, family="sample-qwen3", head_dim=head_dim, shift=0, qk_norm=True
    )


def _mixed(config: Fields, generation: Fields) -> ModelConfig:
    plain = replace(_qwen3(config, generation), family="sample-mixed")
    widths, normed = config.values["mlp_widths"], config.values["normed"]
    kinds = tuple(LayerKind(width, i in normed) for i, width in enumerate(widths))
    return replace(plain, layers=kinds)


QWEN3 = Family(
    name="sample-qwen3",
    model_type="SampleQwen3",
    parse=_qwen3,
    table=FieldTable(qwen.FIELDS | {"head_dim"}, {"hidden_act": ("silu",)}, frozenset()),
    weight_names=qwen.WEIGHT_NAMES,
    end_tokens=("<|im_end|>",),
)
MIXED = replace(
    QWEN3,
    name="sample-mixed",
    model_type="SampleMixed",
    parse=_mixed,
    table=replace(QWEN3.table, read=QWEN3.table.read | {"mlp_widths", "normed"}),
)

GEOMETRY: dict[str, Any] = {
    "hidden_size": 64,
    "head_dim": 32,
    "intermediate_size": 128,
    "num_hidden_layers": 3,
    "vocab_size": 256,
    "mask_token_id": 255,
}
KINDS: dict[str, Any] = {"mlp_widths": [128, 192, 128], "normed": [0, 2]}


@contextmanager
def registered() -> Iterator[None]:
    """Inside the block both families are known."""
    with pytest.MonkeyPatch.context() as patch:
        for family in (QWEN3, MIXED):
            patch.setitem(FAMILIES, family.model_type, family)
        yield


def tame(tensors: dict[str, torch.Tensor]) -> None:
    """Weights of the size that trained ones have; norms differ from channel to channel."""
    for name, values in tensors.items():
        tensors[name] = 1 + values * 0.3 if "norm" in name else values * 0.1


def write_sample(folder: Path, family: Family, **changes: Any) -> Path:
    """Write a random checkpoint of a registered family."""
    fields = GEOMETRY | (KINDS if family is MIXED else {}) | changes
    return write_checkpoint(folder, "dream", tame, model_type=family.model_type, **fields)
