"""The script that asks what tells which tokens depend on each other."""

import json
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import probe_evidence
from dawn_calibration.checkpoints import load_model, open_checkpoint
from dawn_models import ModelConfig, Transformer
from dawn_runtime import Dawn, RowView
from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.engine.protocol import StepInputs, StepOutputs
from dawn_runtime.errors import OptionError
from front.record import Conditions
from probe import record as kept
from probe.auc import Ranking
from probe.coupling import Predicted, coupling, predicted
from probe.engines import State, WithEvidence, states
from probe.graphs import TrueGraph
from probe.judging import EVIDENCES, Found, judged, learned, table
from probe.logistic import Logistic, fit
from probe.network import Network, mean_of_last
from probe.pairs import LABELS, Pairs

ROOT = Path(__file__).parent.parent.parent
MASK = 3


class Pair:
    """Predicts token 0 or 1 with 0.6 or 0.4; a 0 at position 1 makes position 2 a 1 with 0.9.

    Position 3 is always 0 with 0.6, and nothing depends on it or on position 2.
    """

    def distributions(self, sequences: IntArray, positions: IntArray) -> FloatArray:
        found = np.tile(np.array([0.6, 0.4, 0, 0], np.float32), (len(sequences), len(positions), 1))
        found[np.ix_(sequences[:, 1] == 0, positions == 2)] = [0.1, 0.9, 0, 0]
        return found


SEQUENCE, POSITIONS = np.array([0, MASK, MASK, MASK]), np.array([1, 2, 3])


def test_coupling_is_what_one_token_does_to_the_others() -> None:
    now = predicted(Pair(), SEQUENCE, POSITIONS)
    assert now.tokens.tolist() == [0, 0, 0]
    assert now.entropy == pytest.approx(-0.6 * np.log(0.6) - 0.4 * np.log(0.4), rel=1e-5)
    found = coupling(Pair(), SEQUENCE, POSITIONS, now, np.array([0, 1, 2]))
    expected = np.zeros((3, 3))
    expected[1, 0] = 0.5  # (|0.6 - 0.1| + |0.4 - 0.9|) / 2
    assert found.moved == pytest.approx(expected, abs=1e-6)
    assert np.argwhere(found.changed).tolist() == [[1, 0]]


def test_what_is_not_revealed_is_coupled_to_nothing() -> None:
    now = predicted(Pair(), SEQUENCE, POSITIONS)
    for reveal in ([], [1, 2]):
        found = coupling(Pair(), SEQUENCE, POSITIONS, now, np.array(reveal, dtype=np.int64))
        assert not found.moved.any()
        assert not found.changed.any()


def test_the_tokens_to_decide_about_are_neither_hopeless_nor_sure() -> None:
    chances = np.array([[0.29, 0.2], [0.3, 0.2], [0.94, 0.05], [0.95, 0.05]], np.float32)
    assert Predicted.of(chances).open_to(0.3, 0.95).tolist() == [1, 2]


class Fixed:
    """An engine that computes nothing."""

    def run(self, inputs: StepInputs) -> StepOutputs:
        shape = inputs.logit_rows.shape
        queries = (*inputs.attention_rows.shape, inputs.input_ids.shape[1])
        return StepOutputs(
            tokens=np.zeros(shape, np.int64),
            confidence=np.full(shape, 0.6, np.float32),
            attention=np.ones(queries, np.float32),
        )


def inputs(rows: list[list[int]], lengths: list[int], predict: list[list[int]]) -> StepInputs:
    ids = np.array(rows)
    visible = np.arange(ids.shape[1]) < np.array(lengths)[:, None]
    shape = (len(ids), 1, ids.shape[1], ids.shape[1])
    everywhere = np.tile(np.arange(ids.shape[1]), (len(ids), 1))
    return StepInputs(
        input_ids=ids,
        position_ids=np.where(visible, everywhere, 0),
        attention_mask=np.broadcast_to(visible[:, None, None], shape),
        logit_rows=np.array(predict),
        attention_rows=everywhere,
    )


@pytest.mark.parametrize("shift", [0, 1])
def test_states_are_read_without_padding(shift: int) -> None:
    rows = [[0, 0, MASK, MASK], [0, 0, MASK, 0]]
    predict = (np.array([[0, 2, 3], [2, 0, 0]]) - shift).clip(0).tolist()
    first, second = states(inputs(rows, [4, 3], predict), MASK, shift)
    assert first.positions.tolist() == [2, 3]
    assert second.sequence.tolist() == [0, 0, MASK]
    assert second.positions.tolist() == [2]


def test_a_step_over_a_part_of_the_sequence_is_refused() -> None:
    whole = inputs([[0, MASK]], [2], [[1]])
    with pytest.raises(ValueError, match="without a cache"):
        list(states(replace(whole, position_ids=whole.position_ids + 1), MASK, 0))


def test_the_true_graph_stands_where_attention_stood_and_is_made_once() -> None:
    asked: list[State] = []

    def graph(state: State) -> FloatArray:
        asked.append(state)
        return TrueGraph(Pair())(state)

    engine = WithEvidence(Fixed(), MASK, 0, graph)  # type: ignore[arg-type]
    step = inputs([[0, MASK, MASK, MASK, 0], [0, 0, MASK, MASK, 0]], [4, 4], [[1, 2, 3], [2, 3, 0]])
    attention = engine.run(step).attention
    expected = np.zeros((2, 5, 5))
    expected[0, 2, 1] = 0.5
    assert attention == pytest.approx(expected, abs=1e-6)
    engine.run(step)
    assert len(asked) == 2


def test_with_the_true_graph_dawn_keeps_coupled_tokens_apart() -> None:
    # Of 1, 2 and 3 all may be committed; 2 depends on 1, so 1 and 3 go, by confidence and order.
    attention = np.zeros((4, 4), np.float32)
    attention[2, 1] = 0.5
    view = RowView(
        candidates=POSITIONS,
        masked=np.array([False, True, True, True]),
        window=(1, 4),
        tokens=np.zeros(4, np.int64),
        confidence=np.array([1, 0.6, 0.6, 0.6], np.float32),
        attention=attention,
        attention_rows=np.arange(4),
        attention_keys=np.arange(4),
        step=0,
        predicted=np.arange(4),
    )
    rule = Dawn(tau_sink=1, tau_edge=0.3, tau_low=0.5, tau_high=0.9, adjacency="union")
    assert rule.select(view).tolist() == [1, 3]
    assert replace(rule, tau_edge=0.6).select(view).tolist() == [1, 2, 3]


# Areas


def slow_area(scores: list[int], positive: list[bool]) -> float:
    up = [score for score, yes in zip(scores, positive, strict=True) if yes]
    down = [score for score, yes in zip(scores, positive, strict=True) if not yes]
    wins = sum((one > other) + 0.5 * (one == other) for one in up for other in down)
    return wins / (len(up) * len(down)) if up and down else float("nan")


PAIRS = st.lists(st.tuples(st.integers(0, 4), st.booleans(), st.integers(0, 3)), min_size=1)


@given(PAIRS)
def test_the_area_is_the_share_of_pairs_in_the_right_order(
    rows: list[tuple[int, bool, int]],
) -> None:
    scores, positive, items = (list(column) for column in zip(*rows, strict=True))
    ranking = Ranking(np.array(scores), np.array(positive), np.array(items))
    assert ranking.area() == pytest.approx(slow_area(scores, positive), nan_ok=True)


@given(PAIRS, st.lists(st.integers(0, 3), min_size=4, max_size=4))
def test_an_item_of_weight_two_counts_as_if_it_were_there_twice(
    rows: list[tuple[int, bool, int]], weights: list[int]
) -> None:
    scores, positive, items = (list(column) for column in zip(*rows, strict=True))
    ranking = Ranking(np.array(scores), np.array(positive), np.array(items))
    repeated = [row for row in rows for _ in range(weights[row[2]])]
    expected = slow_area([row[0] for row in repeated], [row[1] for row in repeated])
    found = ranking.area(np.array(weights, dtype=np.float64))
    assert found == pytest.approx(expected, nan_ok=True)


def test_an_interval_comes_of_items_and_not_of_pairs() -> None:
    rng = np.random.default_rng(0)
    positive = rng.random(400) < 0.5
    scores = positive + rng.normal(size=400)
    many = Ranking(scores, positive, np.arange(400)).interval()
    few = Ranking(scores, positive, np.arange(400) // 100).interval()
    assert many[0] < slow_area(scores.tolist(), positive.tolist()) < many[1]
    same = Ranking(np.tile(scores[:40], 10), np.tile(positive[:40], 10), np.arange(400) // 40)
    assert same.interval()[0] == pytest.approx(same.interval()[1]), "ten times the same item"
    assert few != many


def test_there_is_no_area_where_all_pairs_are_coupled() -> None:
    ranking = Ranking(np.arange(3), np.ones(3, np.bool_), np.arange(3))
    assert np.isnan([ranking.area(), *ranking.interval()]).all()


# What is learned


def test_the_weights_are_those_of_least_loss() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(500, 3)) * [1, 5, 0.2] + [0, 3, 0]
    positive = rng.random(500) < 1 / (1 + np.exp(-(features @ [1, -0.4, 0] + 1)))
    model = fit(features, positive)
    wrong = model.chance(features) - positive
    # Where the loss is least its slope is zero, the penalty's included.
    scale = features.std(axis=0)
    slope = (features - features.mean(axis=0)).T @ wrong / scale + model.weights * scale
    assert np.abs(slope).max() < 1e-5
    assert abs(wrong.sum()) < 1e-4


@pytest.mark.parametrize("positive", [[True] * 4, [False, False, True, True]])
def test_what_is_told_apart_without_doubt_still_has_finite_weights(positive: list[bool]) -> None:
    features = np.array([[0.0, 1], [1, 1], [2, 1], [3, 1]])
    model = fit(features, np.array(positive))
    assert np.isfinite(model.chance(features)).all()
    assert (model.chance(features) > 0.5).tolist() == positive


def pairs(count: int, seed: int) -> Pairs:
    """Pairs whose third head tells whether they are coupled."""
    rng = np.random.default_rng(seed)
    heads = rng.normal(size=(count, 6)).astype(np.float32)
    moved = (heads[:, 2] > 0) * 0.5
    return Pairs(
        item=np.arange(count) // 10,
        moved=moved.astype(np.float32),
        changed=moved > 0,
        mean=rng.random(count).astype(np.float32),
        mean_either=rng.random(count).astype(np.float32),
        distance=rng.integers(1, 9, count).astype(np.float32),
        entropies=rng.random((count, 4)).astype(np.float32),
        heads=heads,
    )


def test_evidence_that_tells_is_told_from_evidence_that_does_not() -> None:
    label = "moves by 0.3"
    models = learned(pairs(300, seed=0), label)
    found = judged(models, {"sort": pairs(200, seed=1), "reverse": pairs(100, seed=2)}, label)
    areas = {one.evidence: one.auc for one in found if one.task == "all"}
    assert tuple(areas) == EVIDENCES
    assert areas["all heads, learned"] > 0.99
    assert 0.35 < areas["mean attention"] < 0.65
    assert {one.pairs for one in found if one.task == "all"} == {300}
    lines = list(table(found))
    assert [line.split(" | ")[0] for line in lines[2:]] == ["| all", "| sort", "| reverse"]


# The network


@pytest.mark.parametrize("family", ["tiny-dream", "tiny-llada"])
def test_heads_add_up_to_the_evidence_of_the_graph(family: str) -> None:
    model = load_model(open_checkpoint(ROOT / "models" / family))
    network = Network(model, batch=2)
    sequence, rows = np.arange(40, 60), np.array([3, 7, 12])
    found = mean_of_last(network.attention(sequence, rows, np.arange(20)))
    given = step(model, sequence, rows)
    assert found == pytest.approx(given.attention[0].numpy(), abs=1e-5)
    chances = network.distributions(np.stack([sequence] * 3), rows + network.shift)
    assert chances.shape == (3, 3, model.config.vocab_size)
    assert not chances[..., list(model.config.barred_token_ids)].any()
    assert Predicted.of(chances[2]).tokens.tolist() == given.tokens[0].tolist()
    assert chances[2].max(axis=1) == pytest.approx(given.confidence[0].numpy(), abs=1e-5)


def step(model: Transformer, sequence: IntArray, rows: IntArray):  # type: ignore[no-untyped-def]
    config: ModelConfig = model.config
    length = len(sequence)
    asked = torch.from_numpy(rows)[None]
    with torch.inference_mode():
        return model.step(
            torch.from_numpy(sequence)[None],
            torch.arange(length)[None],
            torch.ones(1, 1, length, length, dtype=torch.bool),
            asked,
            asked,
            torch.zeros(1, 1, dtype=torch.int64),
            [None] * config.num_layers,  # type: ignore[list-item]
            4,
        )


# What is kept


CONDITIONS = Conditions(items=2, seed=7, max_new_tokens=16, block_length=16, batch=2, threads=1)
SUBJECT = kept.Subject("tiny", "0" * 64, ("sort",), CONDITIONS, CONDITIONS)


def test_evidence_is_kept_for_its_subject_alone(tmp_path: Path) -> None:
    nan = float("nan")
    found = [
        Found("sort", "changes", "closeness", 3, 0.5, 0.75, (0.5, 1.0)),
        Found("sort", "changes", "mean attention", 3, 1.0, nan, (nan, nan)),
    ]
    path = kept.path_beside(tmp_path / "evidence.jsonl")
    assert path.name == "evidence.auc.jsonl"
    assert kept.load(path, SUBJECT) is None
    kept.add(path, SUBJECT, kept.Evidence(found, Logistic(np.array([0.1, 1 / 3]), 2.0)))
    again = kept.load(path, SUBJECT)
    assert again is not None
    assert again.found[0] == found[0]
    assert np.isnan([again.found[1].auc, *again.found[1].interval]).all()
    assert again.model.weights.tolist() == [0.1, 1 / 3]
    assert kept.load(path, replace(SUBJECT, digest="1" * 64)) is None
    path.write_text("{}\n")
    with pytest.raises(OptionError, match="line 1 is not one of this script"):
        kept.load(path, SUBJECT)


@dataclass(frozen=True)
class Script:
    """The script, run in this process: it takes seconds to load torch."""

    monkeypatch: pytest.MonkeyPatch
    capsys: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path) -> tuple[int, str, str]:
        """Returns the status, standard output and standard error."""
        self.monkeypatch.setattr(sys, "argv", ["probe_evidence", *map(str, arguments)])
        status = probe_evidence.main()
        found = self.capsys.readouterr()
        return status, found.out, found.err


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Script:
    monkeypatch.chdir(ROOT)
    return Script(monkeypatch, capsys)


def test_evidence_and_front_are_found_and_the_same_command_shows_them_again(
    tmp_path: Path, script: Script
) -> None:
    command: list[str | Path] = ["models/tiny-dream", "--tasks", "coupled-code", "--items", "1"]
    command += ["--learn-items", "1", "--max-new-tokens", "16", "--block-length", "16"]
    command += ["--record", tmp_path / "evidence.jsonl", "--json"]
    status, out, err = script.run(*command)
    assert status == 0, err
    document = json.loads(out)
    assert len(document["evidence"]) == 2 * len(LABELS) * len(EVIDENCES)
    rules = [row["rule"] for row in document["front"]["tables"][0]["settings"]]
    graphs = ["dawn-attention", "dawn-complete", "dawn-true", "dawn-learned"]
    assert list(dict.fromkeys(rules)) == ["threshold", "eb", "verify", *graphs]
    record = tmp_path / "evidence.jsonl"
    whole = record.read_text()
    record.write_text("".join(whole.splitlines(keepends=True)[:-1]) + '{"torn')
    _, out, err = script.run(*command)
    assert "judge, coupled-code: 1 settings" in err
    assert "pairs" not in err, "the evidence was kept"
    assert timeless(document) == timeless(json.loads(out))
    _, out, err = script.run(*command[:-1])
    assert not err, "all was kept"
    assert "| dawn-true |" in out


def timeless(document: dict[str, Any]) -> dict[str, Any]:
    """All but wall time, and what follows from it."""
    for group in document["front"]["tables"]:
        for row in group["settings"]:
            del row["ms"], row["ms_interval"], row["fronts"]
        group["ahead"] = [found for found in group["ahead"] if found["by"] != "ms"]
    return document


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["models", "--record", "{}/a.jsonl"], 1, "config.json"),
        (["models/tiny-dream", "--record", "{}/none/a.jsonl"], 2, "create it first"),
        (["models/tiny-dream", "--record", "{}/a.jsonl", "--items", "0"], 2, "--items"),
        (["models/tiny-dream", "--record", "{}/a.jsonl", "--tasks", "x"], 2, "--tasks"),
    ],
)
def test_bad_input_is_one_line(
    tmp_path: Path, script: Script, arguments: list[str], status: int, message: str
) -> None:
    found, out, err = script.run(*(one.format(tmp_path) for one in arguments))
    assert found == status
    (line,) = err.splitlines()
    assert message in line
    assert not out
