"""What a server takes in at a time, and what a single request may be."""

from dataclasses import dataclass
from typing import ClassVar, Final

from dawn_runtime.option_fields import Options, option

_LONGEST: Final = 1e9


@dataclass(frozen=True, slots=True)
class Bounds(Options):
    """How much is taken in at a time.

    Attributes:
        max_batch_size: Rows decoded together; a request takes one, with guidance two, with drafts
            as many as it has drafts.
        max_batch_tokens: Rows times tokens of the longest, prompt and answer; what kept keys have
            room for. None is what `tokens` says.
        max_queued_requests: Orders that may wait beside as many as are decoded together.
        queue_timeout: Seconds that one may wait.

    Raises:
        OptionError: A bound is out of range.
    """

    kind: ClassVar[str] = "serve"

    max_batch_size: int = option(8, 1, 4096, "requests decoded together")
    max_batch_tokens: int | None = option(
        None,
        1,
        None,
        "rows times tokens of the longest of them, prompt and answer, for which kept keys have "
        "room; unless given 512 a row, and at least the context of the model or 4096",
        kind=int,
    )
    max_queued_requests: int = option(
        64, 0, 2**20, "requests that may wait for room; more get status 429"
    )
    queue_timeout: float = option(
        60.0, 0.1, _LONGEST, "how long one may wait before it gets status 429"
    )

    def tokens(self, context: int) -> int:
        """Returns rows times tokens of the longest of them.

        Args:
            context: Longest sequence of the model, in tokens.
        """
        if self.max_batch_tokens is not None:
            return self.max_batch_tokens
        return max(512 * self.max_batch_size, min(context, 4096))


@dataclass(frozen=True, slots=True)
class Edges(Options):
    """What a single request may be.

    Attributes:
        max_input_len: Most tokens of a prompt; None is what the context has room for.
        max_body_bytes: Most bytes of a request.
        body_timeout: Seconds in which it must have come.
        grace: Seconds that answers have to come to their end when the server stops.
    """

    kind: ClassVar[str] = "serve"

    max_input_len: int | None = option(
        None, 1, None, "tokens of a prompt; unless given what the context has room for", kind=int
    )
    max_body_bytes: int = option(8 * 2**20, 1024, 2**30, "bytes of a request")
    body_timeout: float = option(30.0, 0.1, 86400, "time in which a request must have come whole")
    grace: float = option(
        30.0, 0, 86400, "how long answers may take to end when the server is stopped"
    )
