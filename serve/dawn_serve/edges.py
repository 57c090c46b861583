"""What a single request may be, and how long it is waited for."""

from dataclasses import dataclass
from typing import ClassVar

from dawn_runtime.option_fields import Options, option


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

    max_input_len: int | None = option(None, 1, None, "most tokens of a prompt", kind=int)
    max_body_bytes: int = option(8 * 2**20, 1024, 2**30, "most bytes of a request")
    body_timeout: float = option(30.0, 0.1, 86400, "seconds in which a request must have come")
    grace: float = option(30.0, 0, 86400, "seconds for answers to end when the server stops")
