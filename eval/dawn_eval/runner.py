"""An artifact that answers questions of an evaluation: texts to continue, and texts to judge."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np

from dawn_eval.likelihood import (
    drawn_masks,
    estimate,
    exact_request,
    found,
    masked_request,
)
from dawn_runtime import Decoder, OptionError, PromptError, Settings, __version__
from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import sha256_of
from dawn_runtime.checks import check_flag, check_integer
from dawn_runtime.manifest import MANIFEST_FILE
from dawn_runtime.request import Request
from dawn_serve.edges import Bounds
from dawn_serve.jobs import Order, Outcome
from dawn_serve.scheduler import Scheduler

ENGINE: Final = ("engine", "threads", "low_memory", "cuda_graphs", "verify", "prefix_bytes")
"""Arguments that say how the artifact is opened."""

_NOT_HERE: Final = ("padding", "record", "options")
_SETTINGS: Final = tuple(name for name in Settings.__annotations__ if name not in _NOT_HERE)
_LONGEST_WAIT_S: Final = 1e9
_USUAL_NEW_TOKENS: Final = 256
"""What lm_eval takes where neither the task nor anybody else says how long an answer may be."""

_SAMPLING: Final = ("temperature", "top_p", "top_k")
_GENERATION: Final = ("until", "max_gen_toks", "do_sample", *_SAMPLING)


@dataclass(frozen=True, slots=True)
class Arguments:
    """What `--model_args` says.

    Attributes:
        artifact: Folder of `dawn-export`.
        engine: How it is opened, by name; see `Decoder.open`.
        settings: How it is decoded.
        batch_size: Answers, or masked texts, decoded together.
        mc_samples: Masks that an estimate of a likelihood takes; LLaDA's is 128.
        mc_batch: How many of them share a start; LLaDA's is 32.
        check_greedy: Whether a likelihood also tells whether decoding would give the text, which
            takes a run for each token in models that look at everything; tasks such as LAMBADA ask.
        seed: Of the masks.

    Raises:
        OptionError: A value is out of range or of another type.
    """

    artifact: str
    engine: Mapping[str, Any] = field(default_factory=dict)
    settings: Settings = field(default_factory=Settings)
    batch_size: int = 8
    mc_samples: int = 128
    mc_batch: int = 32
    check_greedy: bool = True
    seed: int = 0

    def __post_init__(self) -> None:
        for name in ("batch_size", "mc_samples", "mc_batch"):
            check_integer("evaluation", name, getattr(self, name), minimum=1)
        check_integer("evaluation", "seed", self.seed, minimum=0)
        check_flag("evaluation", "check_greedy", self.check_greedy)
        next(drawn_masks(np.random.default_rng(0), 1, self.mc_samples, self.mc_batch))

    @classmethod
    def of(cls, artifact: str, **given: Any) -> "Arguments":
        """Sorts arguments by whose they are; what is nobody's is an option of the policy.

        Args:
            artifact: Folder of `dawn-export`.
            **given: Names and values as lm_eval reads them.
        """
        own = ("batch_size", "mc_samples", "mc_batch", "check_greedy")
        sorted_: dict[str, dict[str, Any]] = {"own": {}, "engine": {}, "settings": {}, "rule": {}}
        for name, value in given.items():
            kind = "engine" if name in ENGINE else "settings" if name in _SETTINGS else "rule"
            sorted_["own" if name in own else kind][name] = value
        settings: Any = sorted_["settings"]
        if sorted_["rule"]:
            settings["options"] = sorted_["rule"]
        seed = settings.get("seed", 0)
        return cls(artifact, sorted_["engine"], settings, seed=seed, **sorted_["own"])


class Runner:
    """Answers in batches on the scheduler of dawn-serve: who is done makes room for the next.

    Args:
        arguments: What is opened and how it is decoded.

    Attributes:
        decoder: The artifact, open.

    Raises:
        ArtifactError: The folder is missing, damaged, altered or too new.
        OptionError: A setting is unknown or has a bad value.
    """

    def __init__(self, arguments: Arguments) -> None:
        self._arguments = arguments
        self.decoder = Decoder.open(arguments.artifact, **arguments.engine)
        short: Settings = {**arguments.settings, "max_new_tokens": 1}
        self.decoder.room([0], **short)  # so that bad settings are told before any question
        self._sha256 = sha256_of(Path(arguments.artifact) / MANIFEST_FILE)

    def information(self) -> dict[str, Any]:
        """Returns what results have to carry to be of use later, for JSON.

        The hash of `dawn.json` is that of the whole artifact: it holds those of all files.
        """
        manifest, settings = self.decoder.manifest, self._arguments.settings
        return {
            "artifact": str(self._arguments.artifact),
            "artifact_sha256": self._sha256,
            "family": manifest.family,
            "precision": manifest.precision,
            "engine": self.decoder.engine_name,
            "dawn_edge_version": __version__,
            "decoding": {name: _plain(value) for name, value in settings.items()},
        }

    def answer(
        self,
        contexts: Sequence[tuple[str, Mapping[str, Any]]],
        told: Callable[[int, str], object] = lambda number, text: None,
    ) -> list[str]:
        """Continues texts.

        Args:
            contexts: Text and what the task says of its continuation, such as `until`.
            told: Number and text of each answer, in their order, as they are there.

        Returns:
            The answers, each up to the first of its `until`.

        Raises:
            OptionError: A task says what is not known here.
            PromptError: A text has no room for an answer, or the artifact has no tokenizer.
        """
        orders = [self._order(context, said) for context, said in contexts]
        answers = []
        for number, outcome in enumerate(self._decoded(orders)):
            if outcome.text is None:
                raise PromptError("evaluation needs texts; export a checkpoint with a tokenizer")
            answers.append(outcome.text)
            told(number, outcome.text)
        return answers

    def log_likelihood(self, prompt: IntArray, continuation: IntArray) -> tuple[float, bool]:
        """Returns how probable a text is behind another, and whether decoding would give it.

        Exact where the text is causal, else LLaDA's estimate of a lower bound.

        Args:
            prompt: int64 [P] ids, P >= 1.
            continuation: int64 [n] ids; none of them is certain.

        Raises:
            OptionError: The model attends by blocks, for which there is no published estimate.
            PromptError: They do not fit the context.
        """
        if not len(continuation):
            return 0.0, True
        kind = self.decoder.manifest.attention.kind
        if kind == "causal":
            request = exact_request(self.decoder, prompt, continuation)
            self._run([request])
            return found(request).log_probability, found(request).greedy
        if kind != "full":
            raise OptionError(
                "likelihoods are for models that attend to everything or causally; this one "
                f"attends {self.decoder.manifest.attention.words()}; use tasks that generate"
            )
        return self._estimated(prompt, continuation)

    def close(self) -> None:
        """Closes the artifact."""
        self.decoder.close()

    def encode(self, text: str, *, special: bool = True) -> IntArray:
        """Returns the ids of a text, int64 [N]; with `special` as prompts begin."""
        if self.decoder.tokenizer is None:
            raise PromptError("evaluation needs texts; export a checkpoint with a tokenizer")
        return self.decoder.tokenizer.encode(text, add_special_tokens=special)

    def _order(self, context: str, said: Mapping[str, Any]) -> Order:
        settings: Settings = {**self._arguments.settings, **_asked(said)}
        length = self._arguments.settings.get("max_new_tokens")
        settings["max_new_tokens"] = length or said.get("max_gen_toks", _USUAL_NEW_TOKENS)
        return Order(self.decoder.prepare(context, **settings), _stops(said))

    def _estimated(self, prompt: IntArray, continuation: IntArray) -> tuple[float, bool]:
        own, length = self._arguments, len(continuation)
        rng = np.random.default_rng(own.seed)
        masks = list(drawn_masks(rng, length, own.mc_samples, own.mc_batch))
        unique = {mask.tobytes(): mask for mask in masks}
        requests = {
            key: masked_request(self.decoder, prompt, continuation, mask)
            for key, mask in unique.items()
        }
        self._run(list(requests.values()))
        sums = [found(requests[mask.tobytes()]).log_probability for mask in masks]
        greedy = own.check_greedy and self._is_greedy(prompt, continuation)
        return estimate(length, masks, sums), greedy

    def _is_greedy(self, prompt: IntArray, continuation: IntArray) -> bool:
        """Whether one token at a time, the surest first, gives the text."""
        count = len(continuation)
        request = self.decoder.prepare(
            input_ids=prompt, policy="one-per-step", max_new_tokens=count, stop_at_eos=False
        )
        self._run([request])
        return bool(np.array_equal(request.row.answer, continuation))

    def _run(self, requests: Sequence[Request]) -> None:
        for _ in self._decoded([Order(request) for request in requests]):
            pass

    def _decoded(self, orders: Sequence[Order]) -> Iterable[Outcome]:
        """Decodes all, and gives them out in their order."""
        if not orders:
            return
        each = max(order.request.scheme.most_asks() for order in orders)
        longest = max(order.request.row.length for order in orders)
        rows = each * min(self._arguments.batch_size, len(orders))
        bounds = Bounds(rows, rows * longest, len(orders), _LONGEST_WAIT_S)
        with Scheduler(self.decoder, bounds) as scheduler:
            for job in scheduler.submit(orders):
                yield job.done.result()


def _asked(said: Mapping[str, Any]) -> Settings:
    """What a task says of drawing, as settings; greedy unless it says that it draws."""
    for name in said:
        if name not in _GENERATION:
            raise OptionError(
                f"generation_kwargs: {name!r} is not known here; known: {', '.join(_GENERATION)}"
            )
    if not said.get("do_sample", False):
        return {}
    drawn: Any = {name: said[name] for name in _SAMPLING if said.get(name) is not None}
    settings: Settings = drawn
    return settings


def _stops(said: Mapping[str, Any]) -> tuple[str, ...]:
    """Texts at which an answer ends."""
    until = said.get("until") or ()
    return tuple(text for text in ([until] if isinstance(until, str) else until) if text)


def _plain(value: Any) -> Any:
    """A setting for JSON; an object of one's own by its name."""
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    return value if value is None or isinstance(value, (bool, int, float, str)) else str(value)
