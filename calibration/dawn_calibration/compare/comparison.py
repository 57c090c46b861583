"""The comparison itself: forced along A's trajectories, then each artifact on its own."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from dawn_calibration.answers import (
    Likeness,
    check_decoding,
    compare_answers,
    decode_all,
    judged,
    try_judge,
)
from dawn_calibration.compare.churn import Churn, churn_of
from dawn_calibration.compare.measures import (
    Compared,
    Differences,
    compare,
    confidence_thresholds,
    joined,
    summarise,
)
from dawn_calibration.compare.replay import PairedEngine, Replay
from dawn_calibration.errors import MismatchError
from dawn_calibration.judges import Judge
from dawn_calibration.prompts import Question, encode_all, listed_questions
from dawn_export.progress import stage
from dawn_runtime import Artifact, Blocks, Decoder, Engine, Policy, open_engine
from dawn_runtime.checks import check_kind
from dawn_runtime.interruption import standing
from dawn_runtime.manifest import Manifest
from dawn_runtime.settings import Settings
from dawn_runtime.wording import counted


@dataclass(frozen=True, slots=True)
class Side:
    """One artifact, open.

    Attributes:
        folder: Where it is.
        decoder: Decodes on `engine`.
        engine: Runs it.
    """

    folder: Path
    decoder: Decoder
    engine: Engine

    @property
    def manifest(self) -> Manifest:
        """What it is."""
        return self.decoder.manifest

    @property
    def threads(self) -> int | None:
        """CPU threads that run it, for the other side to have as many; None if it has none."""
        return None if self.decoder.threads is None else self.decoder.threads.count

    @property
    def name(self) -> str:
        """Folder and precision, for reports."""
        return f"{self.folder.name} ({self.manifest.precision})"


@contextmanager
def open_side(folder: Path, threads: int | None) -> Iterator[Side]:
    """Opens an artifact and closes it again.

    Raises:
        ArtifactError: The folder is missing, damaged, altered or too new.
        EngineError: The engine cannot load the graph.
    """
    engine = open_engine(Artifact.open(folder), threads=threads)
    try:
        yield Side(folder, Decoder.open(folder, engine=engine, verify="sizes"), engine)
    finally:
        engine.close()


@dataclass(frozen=True, slots=True)
class CompareOptions:
    """How artifacts are compared.

    Attributes:
        policy: Rule that decides on both.
        batch: Prompts decoded together when each is on its own.
        max_new_tokens: Positions to decode; None takes the default of A.
        block_length: Of the window; None takes the default of A.
        judge: Who says which answers are right; None if nobody does.

    Raises:
        OptionError: A value is out of range or of another type.
    """

    policy: Policy
    batch: int = 16
    max_new_tokens: int | None = None
    block_length: int | None = None
    judge: Judge | None = None

    def __post_init__(self) -> None:
        check_kind("compare", "policy", self.policy, Policy, "a rule, such as Dawn()")
        check_decoding(
            "compare",
            batch=self.batch,
            max_new_tokens=self.max_new_tokens,
            block_length=self.block_length,
            judge=self.judge,
        )


@dataclass(frozen=True, slots=True)
class Free:
    """Answers of one artifact on its own, held against those of A.

    Attributes:
        name: Of the artifact.
        likeness: Agreement, forwards and right answers.
        churn: Which answers change.
    """

    name: str
    likeness: Likeness
    churn: Churn


@dataclass(frozen=True, slots=True, eq=False)
class Comparison:
    """Everything that was found.

    Attributes:
        names: Of A and B.
        policy: Rule that decided, with its options.
        prompts: How many there were.
        overall: Over all forced decisions.
        groups: Task, or `data` -> the same for its prompts.
        free: A and B decoding on their own.
        states: All forced decisions together, for the picture.
        thresholds: What the rule compares confidences with.
    """

    names: tuple[str, str]
    policy: Policy
    prompts: int
    overall: Differences
    groups: Mapping[str, Differences]
    free: tuple[Free, Free]
    states: Compared
    thresholds: tuple[float, ...]


def check_same_model(left: Manifest, right: Manifest) -> None:
    """Refuses artifacts that differ in what makes the model; precision and context may differ.

    Raises:
        MismatchError: They do.
    """
    parts = {
        "family": (left.family, right.family),
        "dims": (replace(left.dims, max_length=1), replace(right.dims, max_length=1)),
        "tokens": (left.tokens, right.tokens),
        "prediction_shift": (left.prediction_shift, right.prediction_shift),
        "evidence_layers": (left.evidence_layers, right.evidence_layers),
    }
    for name, (ours, theirs) in parts.items():
        if ours != theirs:
            raise MismatchError(
                f"the artifacts are not of one model: {name} is {ours!s:.100} in A and "
                f"{theirs!s:.100} in B; compare exports of the same checkpoint"
            )


def compare_artifacts(
    left: Side,
    right: Side,
    questions: Iterable[Question],
    options: CompareOptions,
) -> Comparison:
    """Compares two artifacts of one model.

    Args:
        left: A, whose trajectories are followed.
        right: B.
        questions: The prompts.
        options: How.

    Raises:
        MismatchError: They are of different models.
        PromptError: A prompt cannot be decoded.
        OptionError: The policy looks at earlier steps.
        CheckerError: The judge is a program that fails.
    """
    check_kind("compare", "options", options, CompareOptions, "CompareOptions")
    check_same_model(left.manifest, right.manifest)
    questions = listed_questions(questions)
    states = _forced(left, right, questions, options)
    thresholds = confidence_thresholds(options.policy)
    every = [state for group in states.values() for state in group]
    return Comparison(
        names=(left.name, right.name),
        policy=options.policy,
        prompts=len(questions),
        overall=summarise(every, thresholds),
        groups={name: summarise(group, thresholds) for name, group in states.items()},
        free=_free(left, right, questions, options),
        states=joined(every),
        thresholds=thresholds,
    )


def _forced(
    left: Side,
    right: Side,
    questions: Sequence[Question],
    options: CompareOptions,
) -> dict[str, list[Compared]]:
    """Asks both at every state of A: group -> states."""
    defaults = left.manifest.decoding
    window = Blocks(options.block_length or defaults.block_length)
    paired = PairedEngine(left.engine, right.engine)
    replay = Replay(paired, left.manifest, options.policy, window)
    prompts = encode_all(
        lambda prompt: left.decoder.encode(prompt, max_new_tokens=options.max_new_tokens), questions
    )
    states: dict[str, list[Compared]] = defaultdict(list)
    text = f"asking both at every state of A on {counted(len(prompts), 'prompt')}"
    with stage("decisions", text, len(prompts), "prompt") as advance:
        try_judge(options.judge, left.decoder, questions[0], prompts[0], _settings(left, options))
        for number, (question, prompt) in enumerate(zip(questions, prompts, strict=True), start=1):
            room = left.manifest.dims.max_length - len(prompt)
            count = options.max_new_tokens or min(defaults.max_new_tokens, room)
            with standing(f"at prompt {number} of {len(prompts)}; a comparison keeps nothing"):
                states[question.group] += map(compare, replay.decisions(prompt, count))
            advance(1)
    return dict(states)


def _free(
    left: Side, right: Side, questions: Sequence[Question], options: CompareOptions
) -> tuple[Free, Free]:
    """Lets each decode on its own, by the same rule."""
    settings = _settings(left, options)
    sides, answers = (left, right), []
    with stage("answers", "each decodes on its own", 2 * len(questions), "answer") as advance:
        for side in sides:
            prompts = [side.decoder.encode(question.prompt) for question in questions]
            answers.append(decode_all(side.decoder, prompts, options.batch, settings, advance))
    verdicts = [judged(options.judge, questions, found) for found in answers]
    ours, theirs = (
        Free(
            side.name,
            compare_answers(found, answers[0], right),
            churn_of(answers[0], found, None if right is None else (verdicts[0] or [], right)),
        )
        for side, found, right in zip(sides, answers, verdicts, strict=True)
    )
    return ours, theirs


def _settings(left: Side, options: CompareOptions) -> Settings:
    """How each decodes on its own."""
    return {
        "policy": options.policy,
        "block_length": options.block_length or left.manifest.decoding.block_length,
        "max_new_tokens": options.max_new_tokens,
        "fallback_length": 0,  # the rule itself, as in the forced part
    }
