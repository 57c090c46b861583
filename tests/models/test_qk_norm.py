"""Norms of queries and keys, against Qwen3's formulas written out in double precision."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from dawn_models import Checkpoint, WeightsError, load_transformer
from support.families import MIXED, QWEN3, registered, write_sample


@pytest.fixture(autouse=True)
def families() -> Iterator[None]:
    with registered():
        yield


def rms(x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
    return weight * x / (x.square().mean(-1, keepdim=True) + epsilon).sqrt()


def rotated(x: torch.Tensor, theta: float) -> torch.Tensor:
    """Every head of [S, H, D], as transformers rotates it: halves turned by one angle."""
    length, _, width = x.shape
    frequencies = theta ** -(torch.arange(0, width, 2).double() / width)
    angles = (torch.arange(length)[:, None] * frequencies).repeat(1, 2)[:, None]
    turned = torch.cat([-x[..., width // 2 :], x[..., : width // 2]], dim=-1)
    return x * angles.cos() + turned * angles.sin()


def published(checkpoint: Checkpoint, ids: torch.Tensor) -> torch.Tensor:
    """Logits [S, V] of int64 [S], by the tensors of the files alone."""
    config = checkpoint.config
    found = {checkpoint.tensors[name].name: tensor.double() for name, tensor in checkpoint}
    x = found["model.embed_tokens.weight"][ids]
    for i in range(config.num_layers):
        own = {n.removeprefix(f"model.layers.{i}."): t for n, t in found.items() if f".{i}." in n}
        x = x + attention(own, rms(x, own["input_layernorm.weight"], config.norm_eps), checkpoint)
        y = rms(x, own["post_attention_layernorm.weight"], config.norm_eps)
        gate = y @ own["mlp.gate_proj.weight"].T
        x = x + (gate * gate.sigmoid() * (y @ own["mlp.up_proj.weight"].T)) @ (
            own["mlp.down_proj.weight"].T
        )
    return rms(x, found["model.norm.weight"], config.norm_eps) @ found["lm_head.weight"].T


def attention(own: dict[str, torch.Tensor], y: torch.Tensor, model: Checkpoint) -> torch.Tensor:
    config = model.config
    q, k, v = (
        (y @ own[f"self_attn.{one}_proj.weight"].T).view(len(y), -1, config.head_dim)
        for one in "qkv"
    )
    if "self_attn.q_norm.weight" in own:
        q = rms(q, own["self_attn.q_norm.weight"], config.norm_eps)
        k = rms(k, own["self_attn.k_norm.weight"], config.norm_eps)
    q, k = rotated(q, config.rope_theta), rotated(k, config.rope_theta)
    share = config.num_heads // config.num_kv_heads
    k, v = (one.repeat_interleave(share, dim=1) for one in (k, v))
    scores = torch.einsum("shd,thd->hst", q, k) / config.head_dim**0.5
    mixed = torch.einsum("hst,thd->shd", scores.softmax(-1), v).flatten(1)
    return mixed @ own["self_attn.o_proj.weight"].T


@pytest.mark.parametrize("family", [QWEN3, MIXED], ids=lambda family: family.name)
def test_the_torch_module_computes_what_qwen3_does(tmp_path: Path, family: object) -> None:
    checkpoint = Checkpoint.open(write_sample(tmp_path, QWEN3 if family is QWEN3 else MIXED))
    ids = torch.randint(0, 250, (24,), generator=torch.Generator().manual_seed(0))
    found = load_transformer(checkpoint)(ids[None])[0].double()
    torch.testing.assert_close(found, published(checkpoint, ids), rtol=1e-4, atol=1e-4)


def test_layers_without_norms_have_no_such_tensors(tmp_path: Path) -> None:
    names = {info.name for info in Checkpoint.open(write_sample(tmp_path, MIXED)).tensors.values()}
    normed = sorted(name for name in names if "q_norm" in name)
    assert normed == [f"model.layers.{i}.self_attn.q_norm.weight" for i in (0, 2)]


def test_a_missing_norm_is_named_without_advice_that_misleads(tmp_path: Path) -> None:
    from safetensors.torch import load_file, save_file

    file = write_sample(tmp_path, QWEN3) / "model.safetensors"
    tensors = load_file(file)
    del tensors["model.layers.1.self_attn.k_norm.weight"]
    save_file(tensors, file)
    with pytest.raises(WeightsError, match=r"layers.1.self_attn.k_norm.weight' is missing$"):
        Checkpoint.open(tmp_path)
