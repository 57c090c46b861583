"""What rows see where nobody gives a mask, and how padding is left out."""

from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dawn_models import Attention, ModelConfig
from dawn_models.auto.masks import positions, seen
from dawn_models.families import FAMILIES
from dawn_models.families.family import Family
from support.checkpoints import CONFIGS, told_of, write_config

CAUSAL = Attention("causal")
BLOCKS = Attention("block-causal", 2)


def config(attention: Attention) -> ModelConfig:
    sizes = {"hidden_size": 4, "intermediate_size": 4, "num_layers": 1, "num_heads": 1}
    switches = {"qkv_bias": False, "qk_norm": False, "tied_head": False, "shift": 0}
    rest: dict[str, Any] = {"num_kv_heads": 1, "head_dim": 4, "max_length": 8, "rope_theta": 1e4}
    ids: dict[str, Any] = {"mask_token_id": 1, "eos_token_ids": (), "pad_token_id": None}
    return ModelConfig(
        "a", 8, norm_eps=1e-6, attention=attention, **sizes, **switches, **rest, **ids
    )


def drawn(mask: torch.Tensor | None) -> list[str]:
    """One row a line, # where it may look."""
    assert mask is not None
    assert mask.dtype == torch.bool
    return ["".join(".#"[int(cell)] for cell in row) for row in mask[0, 0]]


def look(attention: Attention, padding: list[int] | None = None, length: int = 5) -> list[str]:
    ids = torch.zeros(1, length, dtype=torch.long)
    given_ = None if padding is None else torch.tensor([padding])
    return drawn(seen(config(attention), positions(ids, given_), given_))


def test_a_full_model_needs_no_mask() -> None:
    assert seen(config(Attention()), torch.arange(3)[None], None) is None


def test_a_causal_row_sees_what_was_fed_before_it() -> None:
    assert look(CAUSAL, length=3) == ["#..", "##.", "###"]


def test_a_block_sees_itself_and_those_before_it() -> None:
    assert look(BLOCKS) == ["##...", "##...", "####.", "####.", "#####"]


def test_padding_on_the_left_moves_no_block() -> None:
    assert look(BLOCKS, [0, 1, 1, 1, 1]) == ["###..", ".##..", ".##..", ".####", ".####"]


def test_nobody_looks_at_padding_but_itself() -> None:
    assert look(Attention(), [1, 1, 0], 3) == ["##.", "##.", "###"]
    assert look(CAUSAL, [0, 0, 1, 1], 4) == ["#...", ".#..", "..#.", "..##"]


@given(
    st.lists(st.booleans(), min_size=1, max_size=9), st.sampled_from([Attention(), CAUSAL, BLOCKS])
)
def test_every_row_sees_itself_and_tokens_alone(tokens: list[bool], attention: Attention) -> None:
    padding = torch.tensor([tokens]).long()
    mask = seen(config(attention), positions(padding, padding), padding)
    assert mask is not None
    for i, row in enumerate(mask[0, 0].tolist()):
        assert row[i]
        assert all(tokens[j] for j, sees in enumerate(row) if sees and j != i)


def test_positions_count_tokens() -> None:
    ids = torch.zeros(2, 4, dtype=torch.long)
    assert positions(ids, None).tolist() == [[0, 1, 2, 3]] * 2
    assert positions(ids, torch.tensor([[0, 0, 1, 1], [1, 1, 1, 0]])).tolist() == [
        [0, 0, 0, 1],
        [0, 1, 2, 2],
    ]


@pytest.mark.parametrize(
    "attention",
    [Attention("causal", 4, origin="prompt", carry=True), Attention("block-causal", 4, "prompt")],
)
def test_blocks_that_begin_behind_the_prompt_need_a_mask(attention: Attention) -> None:
    with pytest.raises(ValueError, match=r"got none of \[B, 1, S, S\].*where the prompt ends"):
        seen(config(attention), torch.arange(4)[None], None)


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_family_has_its_mask_or_says_that_it_needs_one(family: Family, tmp_path: Any) -> None:
    from dawn_models import read_config

    assert family.name in CONFIGS
    write_config(tmp_path, family.name)
    _, own = read_config(tmp_path, told=told_of(family.name))
    needs = family.name in ("a2d-bd3lm", "nemotron")
    if needs:
        with pytest.raises(ValueError, match=family.name):
            seen(own, torch.arange(4)[None], None)
    else:
        mask = seen(own, torch.arange(4)[None], None)
        assert (mask is None) == (own.attention.kind == "full")
