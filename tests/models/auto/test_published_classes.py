"""Our transformer beside transformers' own classes: the same numbers under the same masks.

Families are Qwen2, Qwen3 or Llama with other names, fields and masks. Each row takes random
weights of the published class, writes them as a checkpoint of the family, and compares logits.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file

from dawn_models import Checkpoint, family_named, load_transformer, read_config
from dawn_models.families import qwen
from support.checkpoints import CONFIGS, told_of, write_config

pytestmark = pytest.mark.transformers

SIZES: dict[str, Any] = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "vocab_size": 64,
}
OF_LLADA: dict[str, Any] = {
    "d_model": 32,
    "mlp_hidden_size": 48,
    "n_layers": 3,
    "n_heads": 4,
    "n_kv_heads": 2,
    "vocab_size": 64,
    "embedding_size": 64,
}
YARN = {
    name: value
    for name, value in CONFIGS["nemotron"]["rope_parameters"].items()
    if name != "llama_4_scaling_beta"  # works beyond the length of the training alone
}


@dataclass(frozen=True)
class Pair:
    """A published class, and a family that is one under another name.

    Attributes:
        published: `Qwen2`, `Qwen3` or `Llama`.
        family: ours.
        options: of the published class, beside the sizes.
        fields: of the family's config.json, in place of the sizes.
    """

    published: str
    family: str
    options: dict[str, Any] = field(default_factory=dict)
    fields: dict[str, Any] = field(default_factory=dict)


WIDE = {"head_dim": 12}
PAIRS = (
    *(Pair("Qwen2", name) for name in ("dream", "open-dcoder", "a2d-bd3lm", "fast-dllm-v2")),
    Pair("Qwen2", "wedlm", {}, {**SIZES, "qk_norm": False, "attention_bias": True, "head_dim": 8}),
    *(
        Pair("Qwen3", name, WIDE, {**SIZES, **WIDE})
        for name in ("coda", "sdar", "dream-reasoner", "wedlm")
    ),
    Pair("Qwen3", "a2d-mdlm", WIDE, {**SIZES, **WIDE, "model_type": "a2d-qwen3"}),
    Pair("Llama", "illada", {"tie_word_embeddings": True}),
    Pair("Llama", "llada", {"rms_norm_eps": 1e-5}, OF_LLADA),
    Pair("Llama", "nemotron", {**WIDE, "rope_parameters": YARN}, {**SIZES, **WIDE}),
)
NAMES = [f"{pair.published}-{pair.family}" for pair in PAIRS]


def published(pair: Pair) -> Any:
    """The class of transformers with random weights, of the size that trained ones have."""
    import transformers

    rope = {"rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}}
    config = getattr(transformers, f"{pair.published}Config")(
        **{**SIZES, "rms_norm_eps": 1e-6, "tie_word_embeddings": False, **rope, **pair.options}
    )
    model = getattr(transformers, f"{pair.published}ForCausalLM")(config)
    generator = torch.Generator().manual_seed(3)
    for name, tensor in model.named_parameters():
        drawn = torch.randn(tensor.shape, generator=generator)
        tensor.data = 1 + 0.3 * drawn if "norm" in name else 0.15 * drawn
    return model.eval()


def written(pair: Pair, model: Any, folder: Path) -> Checkpoint:
    """The weights of a published class as a checkpoint of the family."""
    write_config(folder, pair.family, **(pair.fields or SIZES), mask_token_id=63)
    told = told_of(pair.family)
    _, config = read_config(folder, told=told)
    weights = model.state_dict()
    tensors = {
        name: weights[qwen.WEIGHT_NAMES[_plain(parameter)].format(i=_layer(parameter))]
        for parameter, name in family_named(pair.family).tensor_names(config).items()
    }
    save_file(
        {name: tensor.clone() for name, tensor in tensors.items()}, folder / "model.safetensors"
    )
    return Checkpoint.open(folder, told)


def _plain(parameter: str) -> str:
    return parameter.split(".", 2)[2] if parameter.startswith("layers.") else parameter


def _layer(parameter: str) -> str:
    return parameter.split(".")[1]


def masks(length: int) -> Iterator[torch.Tensor]:
    """Bool [1, 1, S, S]: everything, causal, blocks of four, and any."""
    whole = torch.ones(length, length, dtype=torch.bool)
    blocks = torch.arange(length) // 4
    generator = torch.Generator().manual_seed(5)
    drawn = (torch.rand(length, length, generator=generator) < 0.5) | torch.eye(
        length, dtype=torch.bool
    )
    for mask in (whole, whole.tril(), blocks[:, None] >= blocks, drawn):
        yield mask[None, None]


@pytest.mark.parametrize("pair", PAIRS, ids=NAMES)
def test_logits_are_those_of_the_published_class(pair: Pair, tmp_path: Path) -> None:
    theirs = published(pair)
    ours = load_transformer(written(pair, theirs, tmp_path))
    tokens = torch.randint(64, (2, 20), generator=torch.Generator().manual_seed(4))
    for mask in masks(20):
        with torch.no_grad():
            expected = theirs(tokens, attention_mask=mask).logits
            found = ours(tokens, mask)
        assert expected.abs().max() > 1
        torch.testing.assert_close(found, expected, rtol=0, atol=1e-5)
