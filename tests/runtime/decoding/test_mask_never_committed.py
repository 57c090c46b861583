"""Models that predict the mask itself: no rule commits it, and every answer ends."""

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, EngineError, Policy, RowView, StepInputs, StepOutputs
from dawn_runtime.arrays import IntArray
from dawn_runtime.decoding import SCHEMES, Batch, NoCache, Packer, Single, Unmask
from dawn_runtime.decoding.device_batch import DeviceBatch
from dawn_runtime.engine.fake import FakeEngine, HashModel
from dawn_runtime.generation import begin_batch
from dawn_runtime.manifest import Attention
from dawn_runtime.policies import Dapd, Dawn, Factor, Klass, LocalLeap, OnePerStep, Threshold
from dawn_runtime.request import Limits, Request
from support.decoding import (
    DAWN,
    END,
    MASK,
    POLICIES,
    batch_of,
    begin,
    finished,
    same_row,
    states,
)
from support.decoding import OLDER as MANIFEST
from support.device_engine import HostEngine
from support.host_device import HostDevice

LAX: list[Policy] = [
    *(Threshold(0.0), Factor(1e6), LocalLeap(0.0, 0.0), Klass(0.0, 100.0, 1)),
    *(Dawn(1.0, 0.9, 0.0, 0.0, 0.0, 0.0), Dapd(tau_min=1.0, tau_max=1.0, stage=0.0, tau_high=0.0)),
    *(Dapd("direct", tau_certain=0.0), OnePerStep()),
]
"""Rules without a floor: whatever they see they would take."""

NAMES = [policy.name for policy in (*POLICIES, *LAX)]


class Fond:
    """The hash model, with the mask preferred at a share of the positions.

    Args:
        share: Of all (position, what is seen) pairs; 1 is a model that knows nothing else.
        seed: Another seed is another model.
    """

    def __init__(self, share: float, seed: int = 0) -> None:
        self._share, self._model = share, HashModel(32, seed)

    def __call__(self, *arguments: Any) -> tuple[np.ndarray, np.ndarray]:
        logits, attention = self._model(*arguments)
        fond = (logits[:, 0] * 7919) % 1 < self._share
        logits[fond, MASK] = logits[fond].max(axis=1) + 3
        return logits, attention


def batch_on(engine: FakeEngine, prompts: list[list[int]], new: int, policy: Policy) -> Batch:
    return batch_of(engine, begin(prompts, new), Unmask(policy, Single(), NoCache()))


def run_fond(policy: Policy | str, share: float, seed: int, **settings: Any) -> Any:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST, Fond(share, seed)))
    rules: dict[str, Any] = {"policy": policy, "fallback_length": 0}
    return decoder.generate_batch([[1, 2], [3, 4, 5]], max_new_tokens=14, **rules, **settings)


@pytest.mark.parametrize("policy", [*POLICIES, *LAX], ids=NAMES)
@given(
    share=st.sampled_from([0.3, 0.8, 1.0]),
    seed=st.integers(0, 1000),
    window=st.sampled_from(
        ["blocks:block_length=6", "single", "sliding:block_length=5", "pruned:near=2"]
    ),
    cache=st.sampled_from(
        ["none", "prefix", "dual:refresh=2", "dual:feed=undecided,refresh=never"]
    ),
    temperature=st.sampled_from([0.0, 0.0, 1.0]),
)
@settings(max_examples=12)
def test_no_rule_commits_the_mask_and_every_answer_ends(
    policy: Policy, share: float, seed: int, window: str, cache: str, temperature: float
) -> None:
    rest = {"window": window, "cache": cache, "temperature": temperature, "stop_at_eos": False}
    for result in run_fond(policy, share, seed, **rest):
        assert len(result.tokens) == 14
        assert MASK not in result.tokens
        assert all(0 < commit.confidence <= 1 for commit in result.trace)
        assert result.forwards <= 14
        assert {commit.step for commit in result.trace} == set(range(result.forwards))


SCHEME_OPTIONS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in SCHEMES.names() if "full" in SCHEMES.class_of(name).attends),
    *(("verify", {"tries": 4, "how": how}) for how in ("rows", "shared")),
    *(("verify", {"tries": 4, "threshold": 0.0, "how": how}) for how in ("rows", "shared")),
    ("verify", {"tries": 4, "threshold": 1.0}),
    *((name, {"threshold": 0.0}) for name in ("credit", "freedave", "wino")),
    *(("info-gain", {"threshold": threshold}) for threshold in (0.0, 1.0)),
    ("edit", {"threshold": 0.0, "edit_threshold": 0.0, "least": 3}),
    ("prophet", {"early": 0.0, "middle": 0.0, "late": 0.0}),
]


@pytest.mark.parametrize(("scheme", "options"), SCHEME_OPTIONS, ids=str)
@given(share=st.sampled_from([0.3, 0.8, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_no_scheme_commits_the_mask_and_every_answer_ends(
    scheme: str, options: dict[str, Any], share: float, seed: int
) -> None:
    for result in run_fond(scheme, share, seed, options=options, stop_at_eos=False):
        assert len(result.tokens) == 14
        assert MASK not in result.tokens
        assert all(0 < commit.confidence <= 1 for commit in result.trace)


SEES_LESS = [
    (Attention("block-causal", 4), "self-verify"),
    (Attention("block-causal", 4), "threshold"),
    (Attention("block-causal", 5, "prompt"), "dawn"),
    (Attention("causal"), "wedlm"),
    (Attention("causal"), "autoregressive"),
    (Attention("causal", 4, "prompt", carry=True), "threshold"),
    (Attention("causal", 4, "prompt", carry=True), "linear-speculation"),
]


@pytest.mark.parametrize(("attention", "policy"), SEES_LESS, ids=str)
@given(share=st.sampled_from([0.3, 0.8, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=25)
def test_nor_does_a_model_that_sees_less(
    attention: Attention, policy: str, share: float, seed: int
) -> None:
    manifest = replace(MANIFEST, attention=attention)
    decoder = Decoder(manifest, FakeEngine(manifest, Fond(share, seed)))
    for result in decoder.generate_batch(
        [[1, 2], [3, 4, 5]], max_new_tokens=14, policy=policy, stop_at_eos=False
    ):
        assert len(result.tokens) == 14
        assert MASK not in result.tokens
        assert all(0 < commit.confidence <= 1 for commit in result.trace)


@pytest.mark.parametrize("policy", [*POLICIES, *LAX], ids=NAMES)
def test_holes_of_a_template_and_ends_are_no_exception(policy: Policy) -> None:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST, Fond(0.8)))
    ids = [1, MASK, MASK, 7, 8, MASK, 9, MASK, MASK, MASK]
    filled = decoder.fill(input_ids=ids, policy=policy, fallback_length=0)
    given_ = [i for i, token in enumerate(ids) if token != MASK]
    whole = [1, *filled.tokens.tolist()] if len(filled.tokens) < len(ids) else filled.tokens
    assert MASK not in filled.tokens
    assert [whole[i] for i in given_] == [ids[i] for i in given_]
    stopped = decoder.generate(input_ids=[1], max_new_tokens=30, policy=policy, fallback_length=0)
    assert MASK not in stopped.tokens
    assert END not in stopped.tokens


@given(share=st.sampled_from([0.6, 1.0]), seed=st.integers(0, 1000))
@settings(max_examples=15)
def test_a_stuck_row_does_not_depend_on_its_neighbours(share: float, seed: int) -> None:
    engine = FakeEngine(MANIFEST, Fond(share, seed))
    for policy in (Threshold(0.6), DAWN, Dapd()):
        prompts = [[1, 2], [3], [4, 5, 6]]
        together = finished(batch_on(engine, prompts, 9, policy))
        for row, prompt in zip(together.rows.values(), prompts, strict=True):
            assert row.step <= 9
            assert same_row(row, finished(batch_on(engine, [prompt], 9, policy)).row(0))
        assert together.forwards == max(row.step for row in together.rows.values())


def test_a_stuck_row_takes_the_best_other_token_as_the_model_sees_it() -> None:
    def model(tokens: IntArray, *_: object) -> tuple[np.ndarray, np.ndarray]:
        logits = np.zeros((len(tokens), 32), dtype=np.float32)
        logits[:, MASK], logits[:, 5], logits[-1, 6] = 6.0, 4.0, 5.0
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    batch = batch_on(FakeEngine(MANIFEST, model), [[1]], 3, OnePerStep())
    (first,), *_ = states(batch)
    (commit,) = first.trace()
    assert (commit.position, commit.token) == (3, 6)
    expected = np.exp(5) / (np.exp(6) + np.exp(4) + np.exp(5) + 29)
    assert commit.confidence == pytest.approx(expected, rel=1e-6)


def test_logits_are_fetched_for_a_stuck_row_and_for_no_other() -> None:
    class Recorder(FakeEngine):
        wanted: list[bool]

        def run(self, inputs: StepInputs) -> StepOutputs:
            self.wanted.append(inputs.want_logits)
            return super().run(inputs)

    for share, expected in ((0.0, [False] * 3), (1.0, [False, True] * 3)):
        engine = Recorder(MANIFEST, Fond(share, 1))
        engine.wanted = []
        batch = finished(batch_on(engine, [[1, 2]], 3, OnePerStep()))
        assert engine.wanted == expected
        assert batch.forwards == 3, "a run that is repeated counts once"


def test_an_engine_without_logits_is_told_what_is_missing() -> None:
    class Silent(FakeEngine):
        def run(self, inputs: StepInputs) -> StepOutputs:
            if inputs.want_logits:
                raise EngineError("fake: logits are wanted, but the plan returns none")
            return super().run(inputs)

    batch = batch_on(Silent(MANIFEST, Fond(1.0)), [[1]], 2, OnePerStep())
    with pytest.raises(EngineError, match="logits are wanted"):
        batch.step()


@pytest.mark.parametrize("end", [False, True])
@pytest.mark.parametrize("share", [0.3, 0.8, 1.0])
@pytest.mark.parametrize("policy", [DAWN, Threshold(0.6), LAX[0], LAX[4]], ids=lambda p: p.name)
def test_rows_on_a_device_never_hold_it_either(
    policy: Policy, share: float, end: bool, host: HostDevice
) -> None:
    scheme = Unmask(policy, Single(), NoCache())
    for seed in range(4):
        fake = FakeEngine(MANIFEST, Fond(share, seed))
        rows = begin([[1, 2, 3], [4], [5, 6]], [12, 5, 9], end=end, shift=1)
        requests = [Request(row, scheme, Limits()) for row in rows]
        there, here = (
            begin_batch(engine, Packer(0), requests) for engine in (HostEngine(fake, host), fake)
        )
        assert isinstance(there, DeviceBatch)
        for row in rows:
            assert there.admit(row, scheme) == here.admit(row, scheme)
        while here.active:
            assert there.step() == here.step()
            for key, left in there.rows.items():
                assert same_row(left, here.row(key))
                assert left.fed == here.row(key).fed
                assert MASK not in left.ids[~left.masked]
        assert not there.active


@dataclass(frozen=True, slots=True)
class Answers(Policy):
    """Answers the same positions whatever it sees."""

    name: ClassVar[str] = "answers"

    positions: tuple[int, ...]

    def select(self, view: RowView) -> IntArray:
        return np.array(self.positions, dtype=np.int64)


def test_whatever_a_policy_answers_the_mask_stays_out() -> None:
    for answer in ((), (-1, 999), (0, 1), tuple(range(20))):
        batch = batch_on(FakeEngine(MANIFEST, Fond(0.8)), [[1, 2, 3]], 8, Answers(answer))
        for (row,) in states(batch):
            assert MASK not in row.ids[~row.masked]
            assert np.flatnonzero(row.commit_step == row.step - 1).size >= 1
