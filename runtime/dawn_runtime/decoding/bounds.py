"""What a batch has room for, told before a row joins."""

from collections.abc import Sequence
from dataclasses import dataclass

from dawn_runtime.decoding.row import RowState
from dawn_runtime.decoding.schemes.base import Scheme
from dawn_runtime.errors import BatchFullError, OptionError
from dawn_runtime.wording import counted

Member = tuple[RowState, Scheme]
"""A row and how it is decoded."""


@dataclass(frozen=True, slots=True)
class Bounds:
    """The bounds of a batch.

    Attributes:
        rows: Most rows at a time.
        tokens: Most rows times tokens of the longest.
        evidence: Most rows of attention times keys of a step (`EngineInfo.most_evidence`).
        multiple: What fed tokens are filled up to a multiple of (`EngineInfo.multiple`).
    """

    rows: int
    tokens: int
    evidence: int | None = None
    multiple: int = 1

    def check(self, row: RowState, scheme: Scheme, others: Sequence[Member]) -> None:
        """Refuses a row that there is no room for.

        Args:
            row: That is to join.
            scheme: How it is decoded.
            others: Those that are there.

        Raises:
            BatchFullError: There is no room beside the others.
            OptionError: There would be none in an empty batch.
        """
        self._check_alone(row, scheme)
        here, wanted = sum(other.most_asks() for _, other in others), scheme.most_asks()
        rows, longest = here + wanted, max([row.length, *(other.length for other, _ in others)])
        if rows > self.rows:
            raise BatchFullError(
                f"{here} of {self.rows} rows are taken and this needs {wanted}; "
                "let one leave first, or ask for a larger max_rows"
            )
        if rows * longest > self.tokens:
            raise BatchFullError(
                f"{rows} rows of up to {longest} tokens exceed the {self.tokens} tokens of "
                "the batch; let one leave first, or ask for a larger max_tokens"
            )
        if self._too_much(evidence := self._evidence([*others, (row, scheme)])):
            raise BatchFullError(
                f"a rule reads the attention of all tokens, of {rows} rows of up to {longest} "
                f"tokens {evidence:,} weights a head, and the engine counts up to "
                f"{self.evidence:,}; let one leave first, or decode fewer at once"
            )

    def _check_alone(self, row: RowState, scheme: Scheme) -> None:
        rows, length = scheme.most_asks(), row.length
        if rows > self.rows or rows * length > self.tokens:
            raise OptionError(
                f"a request of {counted(rows, 'row')} of {counted(length, 'token')} never fits a "
                f"batch of {self.rows} rows and {self.tokens} tokens; open a larger one"
            )
        if self._too_much(evidence := self._evidence([(row, scheme)])):
            raise OptionError(
                f"the rule reads the attention of all of {counted(length, 'token')}, "
                f"{evidence:,} weights a head, and the engine counts up to {self.evidence:,}; "
                "decode something shorter, or by another rule"
            )

    def _evidence(self, members: Sequence[Member]) -> int:
        """Rows of attention times keys of a full pass; all asks have as many as any has."""
        asks = sum(scheme.most_asks() for _, scheme in members)
        longest = max(row.length for row, _ in members)
        keys = -(-longest // self.multiple) * self.multiple
        return asks * keys * max(scheme.evidence_rows(row) for row, scheme in members)

    def _too_much(self, evidence: int) -> bool:
        return self.evidence is not None and evidence > self.evidence
