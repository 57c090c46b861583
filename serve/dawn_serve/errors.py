"""What goes wrong between a request and its answer, beside what is wrong with the request."""

from dawn_runtime.errors import DawnError


class ServeError(DawnError):
    """The server cannot be started as asked."""


class BusyError(DawnError):
    """There is no room now; trying again later may help.

    Args:
        message: One line.
        retry_after: Seconds after which it may be worth it.
    """

    def __init__(self, message: str, retry_after: int) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class QueueFullError(BusyError):
    """As many requests wait as may."""


class QueueTimeoutError(BusyError):
    """A request waited too long and was not begun."""


class StoppingError(DawnError):
    """The server is about to stop and takes nothing new."""


class GoneError(DawnError):
    """Whoever asked has gone before the request was begun."""
