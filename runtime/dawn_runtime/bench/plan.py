"""What is timed: every combination of what flags name, checked before an engine is opened."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from dawn_runtime.errors import OptionError
from dawn_runtime.manifest import Manifest
from dawn_runtime.rules import takes_cache
from dawn_runtime.settings import Settings, make_plan

MOST_TOKENS: Final = 2**24
"""In the rows of a batch together; far more than any machine decodes at once."""


@dataclass(frozen=True, slots=True)
class Case:
    """One combination.

    Attributes:
        policy: Name of the rule.
        cache: Cache strategy as given.
        artifact: Folder of the artifact.
        threads: CPU threads; None is as many as help.
        batch: Most rows decoded together.
        block_length: Tokens of a block; None is the artifact's.
        prompt_tokens: Of random prompts; None where prompts are real.
        new_tokens: Of an answer; None is the artifact's, or what has room.
    """

    policy: str
    cache: str
    artifact: str
    threads: int | None
    batch: int
    block_length: int | None
    prompt_tokens: int | None
    new_tokens: int | None

    @property
    def combination(self) -> "Case":
        """The same for any artifact."""
        return replace(self, artifact="")


@dataclass(frozen=True, slots=True)
class Sweep:
    """What is varied; each has one value at least.

    Attributes:
        policies: Names of rules; empty is the artifact's.
        caches: Empty is the artifact's own, `none`, and `dual` or, of a model that does not look
            ahead, `causal`: those of them that the rule takes.
        threads: As in `Case`, likewise the next four.
        batches: As in `Case`.
        block_lengths: As in `Case`.
        prompt_tokens: As in `Case`.
        new_tokens: As in `Case`.
    """

    policies: tuple[str, ...] = ()
    caches: tuple[str, ...] = ()
    threads: tuple[int | None, ...] = (None,)
    batches: tuple[int, ...] = (1,)
    block_lengths: tuple[int | None, ...] = (None,)
    prompt_tokens: tuple[int | None, ...] = (None,)
    new_tokens: tuple[int | None, ...] = (None,)

    def cases(self, artifacts: Sequence[Path], first: Manifest) -> list[Case]:
        """Returns all combinations; those that differ in the artifact alone stand together.

        Args:
            artifacts: Their folders.
            first: The manifest of the first of them.
        """
        rules = [
            (policy, cache)
            for policy in self.policies or (first.decoding.policy,)
            for cache in self.caches or _caches(policy, first)
        ]
        varied = itertools.product(
            self.new_tokens,
            self.prompt_tokens,
            self.block_lengths,
            self.batches,
            self.threads,
            rules,
            artifacts,
        )
        return [
            Case(policy, cache, str(folder), threads, batch, block, prompt, new)
            for new, prompt, block, batch, threads, (policy, cache), folder in varied
        ]


@dataclass(frozen=True, slots=True)
class Rules:
    """What all cases have in common.

    Attributes:
        options: Of the policy.
        window: Name of the window; None is what goes with the policy.
        guard: Names of guards; None is none, or the artifact's.
    """

    options: dict[str, Any] = field(default_factory=dict)
    window: str | None = None
    guard: tuple[str, ...] | None = None

    def settings(self, case: Case, *, whole: bool) -> Settings:
        """Returns how a case is decoded.

        Args:
            case: Which.
            whole: Whether every position is decoded, end token or not: answers to noise end
                anywhere, those to questions where they end for their reader.
        """
        return {
            "max_new_tokens": case.new_tokens,
            "policy": case.policy,
            "options": self.options,
            "cache": case.cache,
            "window": self.window,
            "guard": None if self.guard is None else list(self.guard),
            "block_length": case.block_length,
            "fallback_length": 0,
            "stop_at_eos": not whole,
        }


def check(cases: Iterable[Case], rules: Rules, manifests: Sequence[Manifest]) -> None:
    """Refuses what would fail after the first of many timings, or before it in vast arrays.

    Args:
        cases: All of them.
        rules: What they have in common.
        manifests: Of the artifacts.

    Raises:
        OptionError: A combination has an unknown name or a bad option, or there is no room.
    """
    for case in cases:
        asked = (case.prompt_tokens or 0) + (case.new_tokens or 0)
        for manifest in manifests:
            if case.prompt_tokens is not None and asked > manifest.dims.max_length:
                raise OptionError(
                    f"--prompt-tokens and --new-tokens: a prompt of {case.prompt_tokens} tokens "
                    f"and {case.new_tokens} new ones exceed the context of "
                    f"{manifest.dims.max_length}"
                )
            settings, shift = rules.settings(case, whole=True), manifest.prediction_shift
            make_plan(settings, manifest.decoding, manifest.attention, shift=shift)
        if case.prompt_tokens is not None and case.batch * asked > MOST_TOKENS:
            raise OptionError(
                f"--batch is {case.batch}: {case.batch * asked} tokens in all; expected at most "
                f"{MOST_TOKENS}"
            )


def check_same_model(manifests: Sequence[Manifest], paths: Sequence[Path]) -> None:
    """Refuses to time answers of different models against each other.

    Args:
        manifests: Of the artifacts, the first one first.
        paths: Their folders.

    Raises:
        OptionError: One is of other sizes than the first.
    """
    first = replace(manifests[0].dims, max_length=0)
    for other, path in zip(manifests, paths, strict=True):
        if replace(other.dims, max_length=0) != first:
            raise OptionError(
                f"--compare {path}: its sizes are not those of {paths[0]}; "
                "give artifacts of one model"
            )


def _caches(policy: str, manifest: Manifest) -> list[str]:
    """The caches that are timed unless some are named: those that model and policy take."""
    defaults = manifest.decoding
    own = [defaults.cache] if policy == defaults.policy and defaults.cache is not None else []
    kept = "dual" if manifest.attention.kind == "full" else "causal"
    return list(dict.fromkeys([*own, "none", *([kept] if takes_cache(policy) else [])]))
