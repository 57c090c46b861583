"""What went wrong, as a status and one line, in the shape of the API that was asked."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime import DawnError, OptionError, PromptError
from dawn_serve.errors import BusyError, GoneError, StoppingError
from dawn_serve.wire.kinds import RequestError

CLIENT_GONE: Final = 499
"""Status of a request whose client has gone; nobody sees it but the log."""


class ProblemError(Exception):
    """A request that ends without an answer.

    Args:
        status: Of HTTP.
        message: One line.
        code: Short name, such as `model_not_found`.
        param: Field that is wrong.
        headers: Of the response.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        code: str | None = None,
        param: str | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.code, self.param = status, code, param
        self.headers = dict(headers or {})

    @property
    def message(self) -> str:
        """One line."""
        return " ".join(str(self).split())


def problem_of(error: BaseException) -> ProblemError:
    """Returns what a client is told of an error; nothing of what is not its business."""
    if isinstance(error, ProblemError):
        return error
    if isinstance(error, RequestError):
        return ProblemError(400, str(error), param=error.param)
    if isinstance(error, (OptionError, PromptError)):
        return ProblemError(400, str(error))
    if isinstance(error, BusyError):
        wait = {"retry-after": str(error.retry_after)}
        return ProblemError(429, str(error), code="busy", headers=wait)
    if isinstance(error, StoppingError):
        return ProblemError(503, str(error), code="stopping", headers={"retry-after": "10"})
    if isinstance(error, GoneError):
        return ProblemError(CLIENT_GONE, "the client has gone")
    if isinstance(error, DawnError):
        return ProblemError(500, str(error))
    return ProblemError(
        500, f"unexpected {type(error).__name__}; with --debug the server tells where"
    )


_OPENAI_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    429: "rate_limit_error",
    500: "server_error",
    503: "server_error",
}
_ANTHROPIC_KINDS: Final = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    500: "api_error",
    503: "overloaded_error",
}


def _openai(problem: ProblemError) -> dict[str, Any]:
    kind = _OPENAI_KINDS.get(problem.status, "invalid_request_error")
    said = {"message": problem.message, "type": kind, "param": problem.param, "code": problem.code}
    return {"error": said}


def _anthropic(problem: ProblemError) -> dict[str, Any]:
    kind = _ANTHROPIC_KINDS.get(problem.status, "invalid_request_error")
    return {"type": "error", "error": {"type": kind, "message": problem.message}}


def _ollama(problem: ProblemError) -> dict[str, Any]:
    return {"error": problem.message}


@dataclass(frozen=True, slots=True)
class Shape:
    """How an API words what it says beside answers.

    Attributes:
        name: Of the API.
        error: Makes the document of a problem.
        request_id: Header that names a request.
    """

    name: str
    error: Callable[[ProblemError], dict[str, Any]]
    request_id: str = "x-request-id"


OPENAI: Final = Shape("openai", _openai)
ANTHROPIC: Final = Shape("anthropic", _anthropic, "request-id")
OLLAMA: Final = Shape("ollama", _ollama)


def shape_of(path: str) -> Shape:
    """Returns the shape in which a path that there is not is refused."""
    if path.startswith("/api/"):
        return OLLAMA
    return ANTHROPIC if path.startswith("/v1/messages") else OPENAI
