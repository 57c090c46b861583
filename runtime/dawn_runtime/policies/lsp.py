"""LSP: the longest stable prefix, cut where a unit ends (arXiv 2603.05454, ICLR 2026).

Nothing is committed out of order: a step takes the first candidates, as many as are stable. With
d_k the margin of the k-th of N candidates (best logit less second best) and m_k the least of the
first k, a threshold t makes the prefix of all d > t exactly k long if m_(k+1) <= t < m_k. So a cut
after k is possible where the next candidate is less stable than all before it, and behind the last.
Committed is a prefix of at least `least_part` and at most `most_part` of the candidates, with the
sharpest cut there is in between, the greatest m_k - m_(k+1); if there is none in between, the
longest shorter one; if there is none at all, the first candidate.

Then the end goes back by up to `snap` candidates to the last delimiter among them, a token after
which a unit ends (punctuation, a line break, a bracket of code). Which tokens those are depends on
the tokenizer, so they are given by id; without any, nothing goes back. No code was published:
"the sharpest" and "the longest shorter one" are our reading of the paper.

    margins   5.0 3.0 4.0 1.0 2.0 0.5 0.4 0.2     N = 8: from 2 to 4 candidates
    m         5.0 3.0 3.0 1.0 1.0 0.5 0.4 0.2     cuts after 1, 3, 5, 6, 7, 8: three are committed
"""

from dataclasses import dataclass
from math import ceil
from typing import ClassVar

import numpy as np

from dawn_runtime.arrays import FloatArray, IntArray
from dawn_runtime.checks import is_integer, shown
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import option
from dawn_runtime.policies.base import POLICIES, Needs, Policy, RowView


@POLICIES.register
@dataclass(frozen=True, slots=True)
class Lsp(Policy):
    """Commits a stable prefix of the candidates; the defaults are those published.

    They are one setting for LLaDA-8B and Dream-7B and every task. Meant for the whole answer as
    one window, which it has by default.

    Attributes:
        least_part: Least part of the candidates that a step commits, if their margins allow it.
        most_part: Greatest part, at least `least_part`.
        snap: Candidates that the end goes back at most to stand behind a delimiter.
        delimiters: Ids of tokens after which a unit ends, such as `--set delimiters=[13,198]`.

    Raises:
        OptionError: An option is out of range.
    """

    name: ClassVar[str] = "lsp"
    needs: ClassVar[Needs] = Needs(margin=True)
    usual_window: ClassVar[str] = "single"

    least_part: float = option(0.25, 0, 1, "least part of the candidates in a step, if stable")
    most_part: float = option(0.5, "least_part", 1, "greatest part of the candidates in a step")
    snap: int = option(16, 0, None, "candidates that the end goes back at most to a delimiter")
    delimiters: tuple[int, ...] = ()

    def check_together(self) -> None:
        """Checks the delimiters, and keeps them as a tuple."""
        given: object = self.delimiters
        if not isinstance(given, (list, tuple)) or not all(is_integer(it) for it in given):
            raise OptionError(
                f"policy 'lsp': delimiters is {shown(given)}; expected a list of token ids, "
                "such as [13, 198]"
            )
        if any(it < 0 for it in given):
            raise OptionError(f"policy 'lsp': delimiters is {shown(given)}; expected ids >= 0")
        object.__setattr__(self, "delimiters", tuple(int(it) for it in given))

    def select(self, view: RowView) -> IntArray:
        """Chooses the first candidates."""
        if view.margin is None:
            raise OptionError("policy 'lsp' reads margins; run it on an engine that returns them")
        count = self.stable(view.margin[view.candidates])
        return view.candidates[: self._snapped(view.tokens[view.candidates[:count]])]

    def stable(self, margins: FloatArray) -> int:
        """Returns the length of the prefix before it goes back to a delimiter, >= 1.

        Args:
            margins: float32 [n] of the candidates, n >= 1.
        """
        total = len(margins)
        least = np.minimum.accumulate(margins)
        drops = np.append(least[:-1] - least[1:], np.float32(np.inf))
        shortest = max(ceil(self.least_part * total), 1)
        longest = max(int(self.most_part * total), shortest)
        sharpest = shortest + int(np.argmax(drops[shortest - 1 : longest]))
        if drops[sharpest - 1] > 0:
            return sharpest
        shorter = np.flatnonzero(drops[: shortest - 1])
        return int(shorter[-1]) + 1 if shorter.size else 1

    def _snapped(self, tokens: IntArray) -> int:
        """The length of a prefix, up to its last delimiter if that is near enough."""
        count = len(tokens)
        ends = np.flatnonzero(np.isin(tokens, self.delimiters)) + 1
        last = int(ends[-1]) if ends.size else 0
        return last if last and count - last <= self.snap else count
