"""The base of RoPE is found wherever it stands; what is not plain RoPE is refused."""

from pathlib import Path
from typing import Any

import pytest

from dawn_models import ConfigError, read_config
from support.checkpoints import write_config

FAMILIES = pytest.mark.parametrize("family", ["dream", "llada"])
PLAIN = {"rope_type": "default", "rope_theta": 5e5}


def theta(folder: Path, family: str, **changes: Any) -> float:
    write_config(folder, family, **changes)
    return read_config(folder)[1].rope_theta


PLACES: list[dict[str, Any]] = [
    {"rope_theta": 500000},
    {"rope_theta": 5e5, "rope_parameters": None, "rope_scaling": None},
    {"rope_theta": 5e5, "rope_parameters": {}, "rope_scaling": {}},
    {"rope_parameters": PLAIN},
    {"rope_theta": 5e5, "rope_parameters": PLAIN},
    {"rope_parameters": {"type": "default", "rope_theta": 500000}},
    {"rope_parameters": {"rope_theta": 5e5}},
    {"rope_scaling": PLAIN},
    {"rope_theta": 5e5, "rope_scaling": {"type": "default"}},
    {"rope_theta": 5e5, "rope_scaling": {"rope_type": "default", "type": "default"}},
    {"rope_theta": 5e5, "rope_scaling": {"rope_type": None}},
    {"rope_theta": 5e5, "rope_scaling": {"type": "linear", "factor": 1.0}},
    {"rope_parameters": PLAIN | {"factor": 1.0, "original_max_position_embeddings": 32}},
    {"rope_parameters": PLAIN | {"partial_rotary_factor": 1.0, "attention_factor": None}},
    {"rope_parameters": {"full_attention": PLAIN}},
    {"rope_parameters": {"full_attention": PLAIN, "sliding_attention": None}},
    {"rope_parameters": {"full_attention": PLAIN, "sliding_attention": PLAIN}},
    {"rope_parameters": PLAIN, "rope_scaling": PLAIN},
]


@FAMILIES
@pytest.mark.parametrize("place", PLACES, ids=str)
def test_the_base_is_read_in_every_place_and_spelling(
    tmp_path: Path, family: str, place: dict[str, Any]
) -> None:
    assert theta(tmp_path, family, **{"rope_theta": ...} | place) == 5e5


def test_without_any_place_llada_has_its_default_and_dream_none(tmp_path: Path) -> None:
    assert theta(tmp_path, "llada", rope_theta=...) == 10000.0
    with pytest.raises(ConfigError, match="field 'rope_theta': got nothing"):
        theta(tmp_path, "dream", rope_theta=...)


OTHERS: list[dict[str, Any]] = [
    {"rope_type": "yarn", "factor": 4.0},
    {"type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32},
    {"type": "linear", "factor": 2.0},
    {"type": "linear"},
    {"rope_type": "dynamic", "factor": 2.0},
    {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0},
    {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]},
    {"rope_type": "default", "type": "yarn"},
    {"rope_type": "yarn", "type": "default"},
    {"rope_type": "default", "factor": 4.0},
    {"rope_type": "default", "factor": True},
    {"rope_type": "default", "attention_factor": 0.7},
    {"rope_type": "default", "attn_factor": 1.2},
    {"rope_type": "default", "partial_rotary_factor": 0.5},
    {"rope_type": "default", "mrope_section": [1, 1]},
    {"factor": 4.0},
    {"rope_type": 3},
    {"rope_type": ["default"]},
    {"full_attention": {"rope_type": "yarn", "factor": 2.0}},
    {"full_attention": {"rope_type": "default"}, "sliding_attention": {"factor": 2.0}},
    {"full_attention": None},
]


@FAMILIES
@pytest.mark.parametrize("field", ["rope_parameters", "rope_scaling"])
@pytest.mark.parametrize("value", [*OTHERS, [], "yarn", 3, False], ids=str)
def test_what_is_not_plain_is_refused_by_name(
    tmp_path: Path, family: str, field: str, value: Any
) -> None:
    with pytest.raises(ConfigError, match=rf"field '{field}': got .*rope_type 'default'"):
        theta(tmp_path, family, **{field: value})


CONTRADICTIONS: list[dict[str, Any]] = [
    {"rope_theta": 1e4, "rope_parameters": PLAIN},
    {"rope_theta": 1e4, "rope_scaling": PLAIN},
    {"rope_parameters": PLAIN, "rope_scaling": PLAIN | {"rope_theta": 1e4}},
    {"rope_parameters": {"full_attention": PLAIN, "sliding_attention": PLAIN | {"rope_theta": 7}}},
]


@FAMILIES
@pytest.mark.parametrize("places", CONTRADICTIONS, ids=str)
def test_two_bases_are_refused_and_both_places_named(
    tmp_path: Path, family: str, places: dict[str, Any]
) -> None:
    with pytest.raises(ConfigError, match=r"field 'rope_.*rope_theta': got .* as 'rope_.*' says"):
        theta(tmp_path, family, **{"rope_theta": ...} | places)


@FAMILIES
@pytest.mark.parametrize("value", ["500000", True, 0, -1, [1e4]])
def test_a_base_that_is_no_number_is_refused(tmp_path: Path, family: str, value: Any) -> None:
    for place in ({"rope_theta": value}, {"rope_parameters": {"rope_theta": value}}):
        with pytest.raises(ConfigError, match=r"field 'rope_theta': got .* above 0"):
            theta(tmp_path, family, **{"rope_theta": ...} | place)
