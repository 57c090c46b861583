"""A rule of one's own is one class: `generate`, the flags, the bounds and the help know it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import pytest

from dawn_runtime import Decoder, OptionError
from dawn_runtime.arrays import IntArray
from dawn_runtime.cli import generate_flags
from dawn_runtime.decoding import CACHES, SCHEMES, WINDOWS, Blocks, RowState, Scheme
from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Dual
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.option_fields import option
from dawn_runtime.policies import POLICIES, Policy, RowView


@dataclass(frozen=True, slots=True)
class Best(Policy):
    name: ClassVar[str] = "best"
    count: int = option(2, 1, 8, "how many are committed")

    def select(self, view: RowView) -> IntArray:
        order = np.argsort(-view.confidence[view.candidates], kind="stable")
        return view.candidates[order[: self.count]]


@dataclass(frozen=True, slots=True)
class Narrow(Blocks):
    name: ClassVar[str] = "narrow"
    margin: int = option(0, 0, 5, "what is spared")


@dataclass(frozen=True, slots=True)
class Twin(Dual):
    name: ClassVar[str] = "twin"
    extra: int = option(0, 0, 5, "what is added")


@dataclass(frozen=True, slots=True)
class InOrder(Scheme):
    name: ClassVar[str] = "in-order"
    stride: int = option(1, 1, 4, "tokens a step")

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        everything = np.arange(row.length)
        rows = np.flatnonzero(row.masked)[: self.stride]
        return (Ask(tokens=row.ids, positions=everything, predict=rows),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        rows = np.flatnonzero(row.masked)[: self.stride]
        return Decision(rows, answers[0].tokens, answers[0].confidence)


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    pairs = ((POLICIES, Best), (WINDOWS, Narrow), (CACHES, Twin), (SCHEMES, InOrder))
    for registry, cls in pairs:
        monkeypatch.setattr(registry, "_classes", dict(registry._classes))
        registry.register(cls)  # type: ignore[attr-defined]


def run(*flags: str) -> int:
    manifest = fake_manifest()
    args = generate_flags.parser().parse_args(["artifact", *flags])
    with Decoder(manifest, FakeEngine(manifest)) as decoder:
        settings = generate_flags.settings(args)
        return decoder.generate(input_ids=[5, 6], **{**settings, "max_new_tokens": 8}).forwards


def test_new_rules_decode_with_options_of_the_command_line() -> None:
    window, cache = ("--window", "narrow:margin=1"), ("--cache", "twin:extra=2")
    flags = ("--no-stop-at-eos", *window)
    one, four = (
        run("--policy", "best", "--set", f"count={count}", *flags, *cache) for count in (1, 4)
    )
    assert four < one == 8
    assert run("--policy", "in-order", "--set", "stride=4", "--no-stop-at-eos") == 2


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--policy", "best", "--set", "count=9"), "policy 'best': count is 9; expected an"),
        (("--policy", "in-order", "--set", "stride=0"), "scheme 'in-order': stride is 0"),
        (("--window", "narrow:margin=6"), "window 'narrow': margin is 6"),
        (("--cache", "twin:extra=6"), "cache 'twin': extra is 6"),
    ],
)
def test_bounds_of_new_rules_are_checked(flags: tuple[str, ...], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        run(*flags)


def test_help_lists_new_rules_with_bounds() -> None:
    text = generate_flags.parser().format_help()
    assert "--policy best\n      count  how many are committed (1 to 8; default 2)" in text
    for rule in ("--policy in-order", "--window narrow", "--cache twin"):
        assert rule in text
