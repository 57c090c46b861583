"""Linear speculation: a block is drafted at once and checked at once (Nemotron-Labs-Diffusion).

The text is that of greedy autoregressive decoding. The model drafts by diffusion and checks by its
causal rows. The last token of the text is the seed; masks follow it. One run in which seed and
masks look at each other predicts all masks. A second, causal run over the seed and what was drafted
says which token follows each. Drafts are taken as long as they agree, and with them the token that
the causal run says behind the last:

    text a b c, seed d       d _ _ _   ->   drafts e f x
    causal run               d e f x   ->   e f g h      e and f agree, x does not
    committed                e f g; d, e and f keep their keys, g is the next seed

Two runs decide 1 to `draft` tokens. A draft never changes the text, only how long it takes. Where
the model has an adapter for drafts, it is added to seed and masks of the first run and to nothing
else: the text before them is seen as the causal runs left it, and no key of a draft is kept.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Final

import numpy as np

from dawn_runtime.decoding.ask import Answer, Ask, Decision, nothing
from dawn_runtime.decoding.caches import Cache, Causal
from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.autoregressive import CausalText
from dawn_runtime.decoding.schemes.base import SCHEMES
from dawn_runtime.decoding.schemes.plan import causal
from dawn_runtime.decoding.schemes.predictions import first_without_mask
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option

_DRAFTS: Final = "drafts"
"""Note of an ask that drafts."""


@SCHEMES.register
@dataclass(frozen=True, slots=True)
class LinearSpeculation(CausalText):
    """Drafts a block by diffusion and takes what the causal rows of the model agree with.

    Attributes:
        draft: Rows of a run: the seed and draft - 1 masks, 2 to the block; None is the block.
        cache: `causal` or `none`.
        block_length: Positions that the model decides together; the artifact says it.

    Raises:
        OptionError: An option is out of range, or the cache is another.
    """

    name: ClassVar[str] = "linear-speculation"
    in_blocks: ClassVar[bool] = True

    draft: int | None = option(
        None,
        2,
        None,
        "tokens of a draft, its seed included, at most a block; default: a block",
        kind=int,
    )
    cache: Cache = field(default_factory=Causal)
    block_length: int = 32

    def check_together(self) -> None:
        """Refuses caches of other models, and more masks than the model decides at once."""
        CausalText.check_together(self)
        if self.draft is not None and self.draft > self.block_length:
            raise OptionError(
                f"scheme {self.name!r}: draft is {self.draft}, but the model decides blocks of "
                f"{self.block_length}; use 2 to {self.block_length}"
            )

    @property
    def _rows(self) -> int:
        """Rows of a run that drafts."""
        return self.block_length if self.draft is None else self.draft

    def bound(self, row: RowState) -> int:
        """Returns the most steps: two decide one token at least."""
        return 2 * int(row.masked.sum())

    def ask(self, row: RowState) -> tuple[Ask, ...]:
        """Asks for the first token, for drafts, or for a look at them."""
        ahead = min(row.settled + self._rows - 1, row.length) - row.settled
        if row.memory is None and row.settled > row.start and ahead > 1:
            return (self._drafting(row, ahead),)
        return (self.causal(row, nothing() if row.memory is None else row.memory),)

    def decide(self, row: RowState, answers: Sequence[Answer]) -> Decision:
        """Commits what is agreed on and the token after it; of drafts it commits nothing."""
        (answer,) = answers
        tokens, confidence = first_without_mask(answer, row.mask_id)
        if answer.ask.note is _DRAFTS:
            here = row.settled + np.arange(len(tokens))
            drafts = np.where(row.masked[here], tokens, row.ids[here])
            return Decision(nothing(), nothing(), confidence[:0], memory=drafts)
        fed = answer.ask.tokens
        drafts = fed[len(fed) - len(tokens) + 1 :]
        given = ~row.masked[row.settled : row.settled + len(drafts)]
        agreed = int(np.argmin(np.append(given | (tokens[:-1] == drafts), False)))
        here = np.arange(row.settled, min(row.settled + agreed + 1, row.length))
        return Decision(here, tokens[: len(here)], confidence[: len(here)], keep=(0,))

    def _drafting(self, row: RowState, ahead: int) -> Ask:
        """The text up to the seed, and the seed and some positions that all see each other."""
        begin, seed = self.exact(row), row.settled - 1
        positions = np.arange(begin, row.settled + ahead)
        kept = self.slots(row, begin)
        sees = causal(len(kept), len(positions))
        sees[seed - begin :] = True
        return Ask(
            tokens=row.ids[positions],
            positions=positions,
            sees=sees,
            kept=kept,
            predict=row.settled - begin + np.arange(ahead) - row.shift,
            draft=np.arange(seed - begin, len(positions)),
            note=_DRAFTS,
        )
