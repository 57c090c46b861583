"""What a decoding scheme is: it asks about one row and decides what follows from the answers.

`Unmask` is today's common form: a policy that picks positions, a window, a cache, sampling. A way
of decoding that does not fit it (rows fed twice, tokens taken back, drafts side by side) is a
scheme of its own.

To add one: a file with a frozen dataclass decorated by `@SCHEMES.register`, whose fields are its
options, and one import in `dawn_runtime.decoding.schemes`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, ClassVar

from dawn_runtime.decoding.ask import Answer, Ask, Decision
from dawn_runtime.decoding.caches import Cache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.sampling import Sampling
from dawn_runtime.decoding.windows import Blocks, Single, Window
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import Options
from dawn_runtime.policies import KernelView
from dawn_runtime.registry import Registry


class Scheme(Options, ABC):
    """How one row is decoded; pure, so equal rows and answers give equal decisions.

    Attributes:
        name: Name in the registry.
        attends: Kinds of attention under which it decodes, of
            `dawn_runtime.manifest_records.ATTENTIONS`.
    """

    __slots__ = ()

    kind: ClassVar[str] = "scheme"
    name: ClassVar[str]
    attends: ClassVar[tuple[str, ...]] = ("full",)

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

    def most_asks(self) -> int:
        """Returns how many asks a step has at most, for those who plan memory."""
        return 1

    def suits(self, shift: int) -> None:
        """Refuses a model that the scheme cannot decode.

        Args:
            shift: 0 if row i of the model predicts token i, 1 if row i-1 does.

        Raises:
            OptionError: It cannot, and why.
        """

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


SHARED = ("window", "cache", "sampling")
"""Fields that are settings of their own, for every scheme that has them."""

SCHEMES: Registry[Scheme] = Registry("scheme")
"""All schemes by name but `Unmask`, which is named by its policy."""


def fitted(
    scheme: Scheme | str, options: dict[str, Any], window: Window, cache: Cache, sampling: Sampling
) -> Scheme:
    """Returns a scheme made from its name and options, with as much of the rest as it has.

    Args:
        scheme: A name of `SCHEMES`, or an object that is used as it is.
        options: Values for its own fields.
        window: For a scheme with a window.
        cache: For a scheme with a cache.
        sampling: For a scheme that draws tokens.

    Raises:
        OptionError: An option is unknown or out of range, or a cache, a temperature or a
            forbidden token is given to a scheme that has none.
    """
    if isinstance(scheme, Scheme):
        return SCHEMES.make(scheme, options)
    known = SCHEMES.fields_of(scheme)
    if "cache" not in known and cache.name != "none":
        raise OptionError(f"scheme {scheme!r} has no cache; leave it at 'none', got {cache.name!r}")
    if "sampling" not in known and not sampling.is_greedy:
        raise OptionError(f"scheme {scheme!r} draws no tokens; leave temperature at 0")
    if "sampling" not in known and sampling.forbid is not None:
        raise OptionError(f"scheme {scheme!r} forbids no token; leave forbid out")
    given = {"window": window, "cache": cache, "sampling": sampling}
    for name in options:
        if name in given:
            raise OptionError(f"{name} is a setting of its own, no option of scheme {scheme!r}")
    shared = {name: value for name, value in given.items() if name in known}
    return SCHEMES.make(scheme, {**options, **shared})
