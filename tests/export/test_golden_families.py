"""Every family's exported graph and torch module beside what its authors' code computes."""

from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dawn_export import ExportOptions, export
from dawn_models import FAMILIES, Checkpoint, load_transformer
from dawn_models.families.family import LOGITS_AND_TEXT
from dawn_runtime import Artifact, Decoder
from dawn_runtime.engine import Engine, open_engine
from support.checkpoints import write_checkpoint
from support.families import tame
from support.golden_families import MASK, TOLD, folder_of, forward_of, step

NAMES = pytest.mark.parametrize("name", TOLD)


def close(found: Any, expected: Any) -> None:
    """Within 1e-3 where both are finite; the graph never predicts the mask."""
    others = np.arange(expected.shape[-1]) != MASK
    assert np.abs(found[..., others] - expected[..., others]).max() < 1e-3


@pytest.fixture(scope="module")
def engine(request: pytest.FixtureRequest, exported_family: Any) -> Any:
    artifact = Artifact.open(exported_family(request.param))
    with closing(open_engine(artifact, "auto", threads=1)) as opened:
        yield opened


ENGINES = pytest.mark.parametrize(("name", "engine"), [(n, n) for n in TOLD], indirect=["engine"])


@ENGINES
def test_the_exported_graph_computes_what_the_authors_code_does(name: str, engine: Engine) -> None:
    golden = forward_of(name)
    out = engine.run(step(golden["input_ids"], golden["position_ids"], golden["attention_mask"]))
    close(out.logits, golden["logits"])
    for layer in range(len(out.present) // 2):
        if f"key_{layer}" in golden:
            for found, what in zip(out.present[2 * layer :], ("key", "value"), strict=False):
                assert np.abs(found[:1] - golden[f"{what}_{layer}"]).max() < 1e-3


@ENGINES
def test_rows_fed_over_cached_keys_compute_the_same(name: str, engine: Engine) -> None:
    golden = forward_of(name)
    cut = int(golden.get("chunk_past", 24))
    if "chunk_past" not in golden:  # all see all: keys of the first rows alone would be others
        golden["attention_mask"] = np.tril(golden["attention_mask"])
        golden["logits"] = torch_logits(name, golden)
    ids, positions, mask = (golden[k] for k in ("input_ids", "position_ids", "attention_mask"))
    first = engine.run(step(ids[:, :cut], positions[:, :cut], mask[:, :cut, :cut])).present
    out = engine.run(step(ids[:, cut:], positions[:, cut:], mask[:, cut:], tuple(first)))
    close(out.logits, golden["logits"][:, cut:])


@NAMES
def test_torch_computes_what_the_authors_code_does(name: str) -> None:
    golden = forward_of(name)
    close(torch_logits(name, golden), golden["logits"])


def torch_logits(name: str, golden: dict[str, Any]) -> Any:
    """Logits of every row under the golden mask."""
    model = load_transformer(Checkpoint.open(folder_of(name), TOLD[name]))
    ids, mask = (torch.from_numpy(golden[k]) for k in ("input_ids", "attention_mask"))
    positions = torch.from_numpy(golden["position_ids"])
    rotation = model.rotation(positions)
    x = model.embedding(ids)
    for layer in model.layers:
        x = layer(x, rotation, mask[:, None], None).x
    return model.head(model.norm(x)).numpy()


def test_where_all_is_visible_the_graph_is_the_same(exported_family: Any) -> None:
    golden = forward_of("a2d-qwen3")
    every = np.ones_like(golden["attention_mask"])
    artifact = Artifact.open(exported_family("a2d-qwen3"))
    with closing(open_engine(artifact, "auto", threads=1)) as engine:
        out = engine.run(step(golden["input_ids"], golden["position_ids"], every))
    close(out.logits, golden["bidirectional_logits"])


def test_the_families_that_say_so_are_those_with_golden_data() -> None:
    read = {Checkpoint.open(folder_of(name), told).family.name for name, told in TOLD.items()}
    said = {family.name for family in FAMILIES.values() if family.golden}
    assert said == read | {"dream", "llada"}  # which have tests of their own


def test_text_is_said_to_be_met_of_those_that_decode() -> None:
    said = {family.name for family in FAMILIES.values() if family.golden == LOGITS_AND_TEXT}
    full = ("dream", "llada", "a2d-mdlm", "open-dcoder", "coda")
    assert said == {*full, "a2d-bd3lm", "sdar", "fast-dllm-v2", "wedlm"}


@pytest.mark.parametrize("family", ["nemotron", "illada"])
def test_families_without_golden_data_export_what_torch_computes(
    family: str, tmp_path: Path
) -> None:
    wide = {"head_dim": 8, "intermediate_size": 40}  # q_proj [32, 16] and o_proj [16, 32]
    source = write_checkpoint(tmp_path / "source", family, tame, **wide)
    report = export(source, tmp_path / "out", ExportOptions(evidence_layers=2), verify="all")
    assert report.verification is not None
    assert max(one.largest for one in report.verification.end_to_end.differences) < 1e-4
    config = Checkpoint.open(source).config
    assert (config.yarn is not None, config.tied_head) == (family == "nemotron", family == "illada")
    manifest = Artifact.open(tmp_path / "out").manifest
    assert manifest.dims.max_length == (48 if family == "nemotron" else 64)
    with Decoder.open(tmp_path / "out", threads=1) as decoder:
        assert len(decoder.generate(input_ids=[1, 2], max_new_tokens=4).trace) == 4
