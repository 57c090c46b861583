"""Causal models that fill a window: a row looks at the rows before it, wherever these stand.

WeDLM (Tencent/WeDLM) keeps causal attention and decodes in parallel all the same. A window of masks
stands behind the text. In each step the decided tokens of the window are fed first and its masks
after them, each at its own position, and a row looks at the rows before it: every mask sees all
decided tokens, those to its right too. What is decided from the left on without a gap is text; its
keys were computed from text alone, so they are kept and are those of a plain causal prefill.

A window of 3, "_" undecided. Position 4 was decided first, "a" and "b" are the prompt:

    first step    a 0   b 1   _ 2   _ 3   _ 4             keeps 0 and 1, decides position 4
    second step   e 4   _ 2   _ 3                         keeps nothing: position 2 is open
                  decides position 2
    third step    c 2   e 4   _ 3   _ 5                   keeps 2; the window moves by one

The first step is the prefill as well. Unlike in the published engine the last tokens are not fed
once more when all is decided: nobody would read their keys.

Any policy chooses in the window; `wedlm` is the published one. What it reads of attention is that
of masks to what was fed before them: two masks do not look at each other both ways.
"""

from collections.abc import Hashable
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from dawn_runtime.decoding.ask import Answer, nothing
from dawn_runtime.decoding.caches import Causal, NoCache
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import CAUSAL_TEXT
from dawn_runtime.decoding.schemes.plan import RowPlan, causal
from dawn_runtime.decoding.schemes.unmask import Past, Unmask
from dawn_runtime.decoding.windows import Blocks
from dawn_runtime.errors import OptionError
from dawn_runtime.policies import RowView


@dataclass(frozen=True, slots=True)
class CausalRows(Unmask):
    """Commits what a policy chooses in a window behind the text; keys of the text are final.

    Attributes:
        policy: Chooses.
        window: `Blocks`; its length is that of the window, which moves with the text.
        cache: `causal` keeps the keys of the text. `none` feeds it anew in every step, which comes
            to the same.
        sampling: How tokens are drawn.
        guards: What they do not let through waits.

    Raises:
        OptionError: Window or cache cannot be followed.
    """

    name: ClassVar[str] = "causal-rows"
    attends: ClassVar[tuple[str, ...]] = ("causal",)

    def check_together(self) -> None:
        """Refuses other windows, and caches of other models."""
        if type(self.window) is not Blocks:
            raise OptionError(
                "the model decides in a window that moves with the text; use window 'blocks' and "
                f"a block length, got {self.window.name!r}"
            )
        if not isinstance(self.cache, NoCache):
            raise OptionError(
                f"the model is causal; use cache 'causal' or 'none', got {self.cache.name!r}"
            )
        self.check_guidance()

    def suits(self, shift: int) -> None:
        """Refuses models that predict the next token where a mask stands.

        Raises:
            OptionError: It is one.
        """
        if shift:
            raise OptionError(
                "a window of masks is filled by models whose masks predict their own position; "
                "this one predicts the next token"
            )

    def length(self, start: int, wanted: int) -> int:
        """Returns the positions of a row whose last window is whole."""
        return wanted + self._width - 1

    @property
    def _width(self) -> int:
        window = self.window
        assert isinstance(window, Blocks)
        return window.block_length

    def text_kind(self, row: RowState) -> Hashable | None:
        """Returns that keys are those of causal text, if they are kept."""
        return CAUSAL_TEXT if isinstance(self.cache, Causal) else None

    def text_keys(self, row: RowState) -> int:
        """Returns how much of the text has a key."""
        return 0 if row.kept is None else len(row.kept.positions)

    def reusable(self, row: RowState, count: int) -> int:
        """Returns all: the window is fed anyway."""
        return min(count, row.settled)

    def evidence_rows(self, row: RowState) -> int:
        """Returns 0: they are those of the window."""
        return 0

    def prefilled(self, row: RowState) -> int:
        """Returns the text."""
        return row.settled

    def plan(self, row: RowState) -> RowPlan:
        """Plans the next step of an unfinished row."""
        end = min(row.settled + self._width, row.length)
        text = nothing() if row.kept is None else row.kept.positions
        window = np.arange(len(text), end)
        open_ = row.masked[window]
        fed = np.concatenate([window[~open_], window[open_]])
        known = np.arange(len(text), row.settled) if isinstance(self.cache, Causal) else nothing()
        candidates = window[open_]
        return RowPlan(
            window=(row.settled, end),
            candidates=candidates,
            fed=fed,
            predicted=candidates,
            evidence=nothing() if self.needs.evidence == "none" else candidates,
            attended=text,
            slots=text if row.kept is None else row.kept.slots(text),
            stored=known,
            layout=None,
            sees=causal(len(text), len(fed)),
        )

    def past(self, row: RowState, answer: Answer, view: RowView) -> Past:
        """Returns what the next step has to know of this one."""
        return Past(
            policy=view.memory if self.needs.history else None,
            confidence=view.confidence if self.needs.known_predictions else None,
        )
