"""A job keeps the batch full, gives every answer of its single run, and tells faults apart."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, EngineError, StepInputs, StepOutputs
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.jobs import AnswerStream, Job, JobTotals, digests
from dawn_runtime.prompt_files import read_entries
from dawn_runtime.settings import Settings, make_plan

POISON = 250


class Watched(FakeEngine):
    """Counts rows and positions fed; fails on a first token, or from some run on."""

    def __init__(self, dies_at: int | None = None) -> None:
        super().__init__(fake_manifest(vocab_size=259, max_length=256))
        self.shapes: list[tuple[int, int]] = []
        self.dies_at = dies_at

    def run(self, inputs: StepInputs) -> StepOutputs:
        self.shapes.append(inputs.input_ids.shape)
        dead = self.dies_at is not None and len(self.shapes) > self.dies_at
        if dead or (inputs.input_ids[:, 0] == POISON).any():
            raise EngineError("the engine failed")
        return super().run(inputs)


def write(path: Path, *rows: list[int]) -> Path:
    path.write_text("".join(f'{{"input_ids": {row}}}\n' for row in rows))
    return path


def run_job(
    engine: Watched,
    path: Path,
    size: int = 4,
    documents: list[dict[str, Any]] | None = None,
    **settings: Any,
) -> tuple[JobTotals, list[dict[str, Any]], list[int]]:
    decoder = Decoder(fake_manifest(vocab_size=259, max_length=256), engine)
    wanted: Settings = {"max_new_tokens": 12, "stop_at_eos": False, **settings}  # type: ignore[typeddict-item]
    entries = read_entries(path)
    plan = make_plan(wanted, decoder.manifest.decoding)
    documents = [] if documents is None else documents
    done: list[int] = []
    job = Job(
        decoder,
        AnswerStream([entry.number for entry in entries], documents.append),
        digests(entries, decoder.manifest, plan),
        wanted,
        size=size,
        listener=lambda totals: done.append(totals.done),
    )
    return job.run(entries), documents, done


@pytest.mark.parametrize("size", [1, 3, 50])
@pytest.mark.parametrize("policy", ["threshold", "dawn", "one-per-step", "verify"])
def test_every_answer_is_that_of_its_line_alone(size: int, policy: str, tmp_path: Path) -> None:
    rng = np.random.default_rng(7)
    rows = [rng.integers(0, 240, rng.integers(1, 40)).tolist() for _ in range(11)]
    _, documents, _ = run_job(Watched(), write(tmp_path / "in", *rows), size, policy=policy)
    decoder = Decoder(fake_manifest(vocab_size=259, max_length=256), Watched())
    for row, document in zip(rows, documents, strict=True):
        alone = decoder.generate(
            input_ids=row, max_new_tokens=12, stop_at_eos=False, policy=policy
        ).to_dict()
        for name in ("tokens", "trace", "forwards", "rows_fed", "finish_reason"):
            assert document[name] == alone[name]


def test_a_place_that_is_free_goes_to_the_next_line(tmp_path: Path) -> None:
    engine = Watched()
    path = write(tmp_path / "in", *([n, n + 1] for n in range(20)))
    _, documents, done = run_job(engine, path, policy="threshold", options={"threshold": 0.3})
    forwards = [document["forwards"] for document in documents]
    assert len(set(forwards)) > 1, "or nothing is shown"
    assert max(rows for rows, _ in engine.shapes) == 4
    assert len(engine.shapes) < sum(max(forwards[n : n + 4]) for n in range(0, 20, 4))
    assert done[0] == 0
    assert done == sorted(done)
    assert done[-1] == 20


def test_lines_of_about_one_length_are_decoded_together(tmp_path: Path) -> None:
    engine = Watched()
    long, short = list(range(1, 200)), [3]
    path = write(tmp_path / "in", *([long, short] * 4))
    run_job(engine, path, policy="threshold", options={"threshold": 0.0})
    assert sorted(engine.shapes) == [(4, 13), (4, 211)]


def test_a_line_on_which_the_engine_fails_has_the_error_and_the_others_answers(
    tmp_path: Path,
) -> None:
    rows = [[1, 2], [3, 4], [POISON, 5], [6], [7]]
    totals, documents, _ = run_job(Watched(), write(tmp_path / "in", *rows))
    assert ["error" in document for document in documents] == [False, False, True, False, False]
    assert documents[2]["error"] == "the engine failed"
    assert (totals.done, totals.errors, totals.first_error) == (5, 1, "the engine failed")


def test_an_engine_that_is_lost_ends_the_job_and_blames_no_line(tmp_path: Path) -> None:
    path = write(tmp_path / "in", *([n, n] for n in range(12)))
    whole = Watched()
    run_job(whole, path, policy="threshold")
    for dies_at in (0, 3, len(whole.shapes) - 1):
        seen: list[dict[str, Any]] = []
        with pytest.raises(EngineError, match="the engine failed"):
            run_job(Watched(dies_at), path, documents=seen, policy="threshold")
        assert bool(seen) == (dies_at > 3)
        assert not any("error" in document for document in seen)
