"""What a decoding scheme is: it asks about one row and decides what follows from the answers.

`Unmask` is today's common form: a policy that picks positions, a window, a cache, sampling. A way
of decoding that does not fit it (rows fed twice, tokens taken back, drafts side by side) is a
scheme of its own.

To add one: a file with a frozen dataclass decorated by `@SCHEMES.register`, whose fields are its
options, and one import in `dawn_runtime.decoding.schemes`.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Sequence
from dataclasses import fields
from typing import Any, ClassVar, Final

import numpy as np

from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Cache, Causal
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.decoding.windows import Blocks, Single, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.manifest_records import Attention
from dawn_runtime.option_fields import Options
from dawn_runtime.policies import Explanation, KernelView
from dawn_runtime.registry import Registry


class Scheme(Options, ABC):
    """How one row is decoded; pure, so equal rows and answers give equal decisions.

    Attributes:
        name: Name in the registry.
        attends: Kinds of attention under which it decodes, of
            `dawn_runtime.manifest_records.ATTENTIONS`.
        in_blocks: Whether it decodes only models that decide in blocks of a length.
    """

    __slots__ = ()

    kind: ClassVar[str] = "scheme"
    name: ClassVar[str]
    attends: ClassVar[tuple[str, ...]] = ("full",)
    in_blocks: ClassVar[bool] = False

    @abstractmethod
    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Returns what the next step of an unfinished row feeds; all asks run side by side."""

    @abstractmethod
    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Returns what follows from the answers.

        Args:
            row: The row that was asked for, unchanged since.
            answers: To what `ask` returned for it, in that order.
        """

    def explain(self, row: RowState, answers: Sequence[Answer]) -> Explanation:
        """Tells why `decide` decides as it does; asked only where somebody records.

        A scheme that does not tell has predicted what it asked for, and chosen.

        Args:
            row: The row that was asked for.
            answers: To what `ask` returned for it, in that order.
        """
        ask = answers[0].ask
        positions, first = np.unique(ask.positions[ask.predict] + row.shift, return_index=True)
        here = positions < row.length
        here[here] = row.masked[positions[here]]
        return Explanation(positions=positions[here], confidence=answers[0].confidence[first[here]])

    def bound(self, row: RowState) -> int:
        """Returns the most steps that a row takes from its beginning; it is stopped beyond.

        Args:
            row: The row before its first step.
        """
        return int(row.masked.sum())

    def stuck(self, row: RowState, answers: Sequence[Answer]) -> bool:
        """Tells whether nothing could be committed for want of logits; see `predictions`.

        Args:
            row: The row that was asked for.
            answers: To what `ask` returned for it, in that order.
        """
        return False

    def kernel_view(self, row: RowState, ask: Ask) -> KernelView | None:
        """Returns what the kernel on a GPU has to know to choose for an ask; see `Answer.selected`.

        None if there is no such kernel, or the ask wants logits; then the answer has the evidence.

        Args:
            row: The row that was asked for.
            ask: One that `ask` returned for it.
        """
        return None

    def length(self, start: int, wanted: int) -> int:
        """Returns the positions of a row: those of prompt and answer, or more to end a last block.

        Args:
            start: First position of the answer.
            wanted: Positions of prompt and answer.
        """
        return wanted

    def most_asks(self) -> int:
        """Returns how many asks a step has at most, for those who plan memory."""
        return 1

    def evidence_rows(self, row: RowState) -> int:
        """Returns how many rows of attention a step wants at most, where it is as many as are fed.

        0 where they are those of a window or a block, or none.

        Args:
            row: The row.
        """
        return 0

    def suits(self, shift: int) -> None:
        """Refuses a model that the scheme cannot decode.

        Args:
            shift: 0 if row i of the model predicts token i, 1 if row i-1 does.

        Raises:
            OptionError: It cannot, and why.
        """

    def text_kind(self, row: RowState) -> Hashable | None:
        """Returns what the keys of a row's text depend on besides the tokens before them.

        None if they depend on what follows, so that no other row can use them.

        Args:
            row: The row.
        """
        return None

    def text_keys(self, row: RowState) -> int:
        """Returns how many positions from the left keep a key that nothing changes any more."""
        return 0

    def reusable(self, row: RowState, count: int) -> int:
        """Returns how many leading keys of another text a row can begin with.

        Args:
            row: The row before its first step.
            count: How many leading tokens the texts have in common.
        """
        return 0

    def prefilled(self, row: RowState) -> int:
        """Returns how many leading positions keep a final key after the first step of a row."""
        return 0

    def options(self) -> dict[str, Any]:
        """Returns the options by name, those of its window, cache and sampling apart."""
        return {
            field.name: getattr(self, field.name)
            for field in fields(self)  # type: ignore[arg-type]  # subclasses are dataclasses
            if field.name not in SHARED
        }


def only_blocks(name: str, window: Window) -> None:
    """Refuses a window that is not made of blocks, one after the other.

    Args:
        name: Of the scheme.
        window: What was given.

    Raises:
        OptionError: It is another.
    """
    if type(window) not in (Blocks, Single):
        raise OptionError(
            f"scheme {name!r} decides block by block; use window 'blocks' or 'single', "
            f"got {window.name!r}"
        )


def only_looking_ahead(owner: str, cache: Cache) -> None:
    """Refuses a cache that is of models that do not look ahead.

    Args:
        owner: Who has the cache.
        cache: What was given.

    Raises:
        OptionError: It is one.
    """
    if isinstance(cache, Causal):
        raise OptionError(
            f"{owner}: cache 'causal' is for models that never look ahead of what is finished; "
            "this one does, use none, prefix or dual"
        )


CAUSAL_TEXT: Final = "causal"
"""The kind of keys that depend on the tokens before them alone, see `Scheme.text_kind`."""

_OF_THE_MODEL: Final = ("block_length", "origin")
"""Fields of a scheme that the artifact says."""

SHARED: Final = ("window", "cache", "sampling", *_OF_THE_MODEL)
"""Fields that are settings of their own or of the model, for every scheme that has them."""

SCHEMES: Registry[Scheme] = Registry("scheme", beside=SHARED)
"""All schemes by name but `Unmask`, which is named by its policy."""


def fitted(
    scheme: Scheme | str,
    options: dict[str, Any],
    window: Window,
    cache: Cache,
    sampling: Sampling,
    attention: Attention,
) -> Scheme:
    """Returns a scheme made from its name and options, with as much of the rest as it has.

    Args:
        scheme: A name of `SCHEMES`, or an object that is used as it is.
        options: Values for its own fields.
        window: For a scheme with a window.
        cache: For a scheme with a cache.
        sampling: For a scheme that draws tokens.
        attention: For a scheme that follows the blocks of the model.

    Raises:
        OptionError: An option is unknown or out of range, or a cache, a temperature, a forbidden
            token or guidance is given to a scheme that has none.
    """
    if isinstance(scheme, Scheme):
        return SCHEMES.make(scheme, options)
    known = SCHEMES.fields_of(scheme)
    if "cache" not in known and cache.name != "none":
        raise OptionError(f"scheme {scheme!r} has no cache; leave it at 'none', got {cache.name!r}")
    if "sampling" not in known and not sampling.is_greedy:
        raise OptionError(
            f"scheme {scheme!r} draws no tokens; leave temperature at 0, or name a policy that does"
        )
    if "sampling" not in known and sampling.forbid is not None:
        raise OptionError(
            f"scheme {scheme!r} forbids no token; leave forbid out, or name a policy that does"
        )
    if "sampling" not in known and sampling.guidance:
        raise OptionError(
            f"scheme {scheme!r} has no guidance; leave guidance at 0, or name a policy that has"
        )
    given: dict[str, Any] = {"window": window, "cache": cache, "sampling": sampling}
    for name in options:
        if name in given:
            raise OptionError(f"{name} is a setting of its own, no option of scheme {scheme!r}")
        if name in _OF_THE_MODEL:
            raise OptionError(f"{name} is what the model was trained for; leave it out")
    if attention.block_length is not None:
        given.update({name: getattr(attention, name) for name in _OF_THE_MODEL})
    shared = {name: value for name, value in given.items() if name in known}
    return SCHEMES.make(scheme, {**options, **shared})
