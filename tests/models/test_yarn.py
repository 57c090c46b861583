"""YaRN, as Nemotron-Labs-Diffusion has it: read from the file, and computed as published."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawn_models import Checkpoint, ConfigError, load_transformer, read_config
from dawn_models.config import Yarn
from dawn_models.families import rope
from dawn_models.fields import Fields
from support.checkpoints import CONFIGS, write_checkpoint, write_config

ROPE: dict[str, Any] = CONFIGS["nemotron"]["rope_parameters"]


def frequencies(
    theta: float, width: int, factor: float, length: int, fast: float, slow: float
) -> Any:
    """As the paper has it: below `slow` turns divided, above `fast` kept, a ramp between."""
    found = []
    for k in range(width // 2):
        plain = theta ** (-2 * k / width)
        low = max(
            math.floor(width * math.log(length / (fast * 2 * math.pi)) / (2 * math.log(theta))), 0
        )
        high = min(
            math.ceil(width * math.log(length / (slow * 2 * math.pi)) / (2 * math.log(theta))),
            width - 1,
        )
        ramp = min(max((k - low) / (high - low if high != low else 0.001), 0), 1)
        found.append(plain / factor * ramp + plain * (1 - ramp))
    return np.array(found)


PUBLISHED = [
    (1e6, 128, 16.0, 16384),  # instruct, 3B and 8B
    (1e6, 128, 0.25, 16384),  # 3B-Base: slow frequencies become faster
    (1e9, 128, 16.0, 16384),  # 14B
    (1e4, 8, 4.0, 64),
]


@pytest.mark.parametrize(("theta", "width", "factor", "length"), PUBLISHED)
def test_angles_are_those_of_the_paper(
    tmp_path: Path, theta: float, width: int, factor: float, length: int
) -> None:
    changes = {"rope_theta": theta, "factor": factor, "original_max_position_embeddings": length}
    folder = write_checkpoint(
        tmp_path, "nemotron", head_dim=width, rope_parameters=ROPE | changes, num_hidden_layers=1
    )
    model = load_transformer(Checkpoint.open(folder))
    positions = torch.tensor([[0, 1, 7, 40]])
    angles = positions.numpy()[0][:, None] * frequencies(theta, width, factor, length, 32, 1)
    found = model.rotation(positions)
    np.testing.assert_allclose(found.cos[0, 0], np.cos(angles), atol=2e-5)
    np.testing.assert_allclose(found.sin[0, 0], np.sin(angles), atol=2e-5)


@pytest.mark.parametrize(
    ("changes", "scale"),
    [
        ({}, 1.0),
        ({"mscale": None, "mscale_all_dim": None}, 0.1 * math.log(16) + 1),
        ({"mscale": 2.0}, (0.2 * math.log(16) + 1) / (0.1 * math.log(16) + 1)),
        ({"attention_factor": 0.5}, 0.5),
        ({"factor": 0.25, "mscale": None}, 1.0),
    ],
)
def test_cosine_and_sine_are_scaled_as_the_file_says(changes: dict[str, Any], scale: float) -> None:
    fields = Fields({"rope_parameters": ROPE | changes}, Path("config.json"))
    yarn = rope.read(fields).yarn
    assert yarn is not None
    assert yarn.scale == pytest.approx(scale)


def test_a_scale_reaches_the_rotation(tmp_path: Path) -> None:
    folder = write_checkpoint(
        tmp_path, "nemotron", rope_parameters=ROPE | {"attention_factor": 0.5}
    )
    found = load_transformer(Checkpoint.open(folder)).rotation(torch.tensor([[0, 3]]))
    norm = found.cos**2 + found.sin**2
    torch.testing.assert_close(norm, torch.full_like(norm, 0.25))


def test_the_context_ends_where_queries_would_be_scaled(tmp_path: Path) -> None:
    notes: list[str] = []
    write_config(tmp_path, "nemotron")
    assert read_config(tmp_path, notes)[1].max_length == 48  # of 64
    assert "max_position_embeddings is 64, the longest sequence here 48" in notes[0]
    write_config(tmp_path, "nemotron", rope_parameters=ROPE | {"llama_4_scaling_beta": 0})
    assert read_config(tmp_path)[1].max_length == 64
    write_config(tmp_path, "nemotron", max_position_embeddings=40)
    assert read_config(tmp_path)[1].max_length == 40


def test_plain_rope_is_read_as_ever(tmp_path: Path) -> None:
    write_config(tmp_path, "nemotron", rope_parameters={"rope_type": "default", "rope_theta": 7.0})
    config = read_config(tmp_path)[1]
    assert (config.rope_theta, config.yarn, config.max_length) == (7.0, None, 64)


def test_either_object_and_either_place_of_the_base_is_read(tmp_path: Path) -> None:
    plain = {name: value for name, value in ROPE.items() if name != "rope_theta"}
    write_config(tmp_path, "nemotron", rope_theta=5e5, rope_parameters=..., rope_scaling=plain)
    config = read_config(tmp_path)[1]
    assert config.rope_theta == 5e5
    assert config.yarn == Yarn(16.0, 48)
    (tmp_path / "config.json").write_text(
        json.dumps(CONFIGS["nemotron"] | {"rope_scaling": ROPE, "rope_theta": 1e6})
    )
    assert read_config(tmp_path)[1].yarn == Yarn(16.0, 48)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factor": 0}, "'factor': got 0"),
        ({"factor": None}, "'factor': got nothing"),
        ({"original_max_position_embeddings": 0}, "'original_max_position_embeddings': got 0"),
        ({"original_max_position_embeddings": None}, "'original_max_position_embeddings': got not"),
        ({"beta_fast": "32"}, "'beta_fast': got"),
        ({"beta_fast": 0.5}, "beta_fast of at least beta_slow"),
        ({"rope_theta": 1.0}, "rope_theta above 1"),
        ({"rope_theta": None}, "'rope_theta': got nothing"),
        ({"mscale": -1.0}, "'mscale': got -1.0"),
        ({"truncate": False}, "'truncate': got false"),
        ({"type": "linear"}, "its kinds differ"),
        ({"type": ["yarn"]}, "its kinds differ"),
        ({"beta_fast": 1e308}, "beta_fast of at least beta_slow"),
        ({"beta_slow": 1e-320}, "beta_fast of at least beta_slow"),
        ({"factor": 1e-300}, "factors from 1e-06 to 1e"),
        ({"attention_factor": 1e300}, "factors from 1e-06 to 1e"),
        ({"long_factor": [1.0]}, "'long_factor' is not known"),
        ({"rope_type": "longrope"}, "'rope_parameters': got"),
    ],
)
def test_what_is_not_published_is_refused(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    write_config(tmp_path, "nemotron", rope_parameters=ROPE | changes)
    with pytest.raises(ConfigError, match=message) as caught:
        read_config(tmp_path)
    assert "\n" not in str(caught.value)


def test_two_places_that_differ_are_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "nemotron", rope_theta=5e5)
    with pytest.raises(ConfigError, match=r"expected 500000\.0 as 'rope_theta' says"):
        read_config(tmp_path)
    write_config(tmp_path, "nemotron", rope_scaling=ROPE | {"factor": 2.0})
    with pytest.raises(
        ConfigError, match=r"'rope_scaling': got .* expected what 'rope_parameters'"
    ):
        read_config(tmp_path)


@pytest.mark.parametrize("family", ["dream", "sdar", "wedlm"])
def test_families_without_yarn_refuse_it(tmp_path: Path, family: str) -> None:
    write_config(tmp_path, family, rope_scaling=ROPE)
    with pytest.raises(ConfigError, match=r"'rope_scaling': got .* 'default'"):
        read_config(tmp_path)
