"""An answer taken apart while it comes: reasoning, text, calls of tools."""

from dawn_serve.talk.calls import CallReader
from dawn_serve.talk.parts import Part, Said, Thought
from dawn_serve.talk.thoughts import ThoughtReader


class Splitter:
    """Takes one answer apart, whatever the pieces in which it comes.

    Args:
        thoughts: Reads its reasoning; None leaves it in the text.
        calls: Reads its calls; None leaves them in the text.
    """

    def __init__(
        self, thoughts: ThoughtReader | None = None, calls: CallReader | None = None
    ) -> None:
        self._thoughts, self._calls = thoughts, calls

    def push(self, piece: str, *, final: bool = False) -> list[Part]:
        """Returns what is certain now, no part empty.

        Args:
            piece: What follows.
            final: Whether nothing follows it.
        """
        thought, rest = "", piece
        if self._thoughts is not None:
            thought, rest = self._thoughts.push(piece, final=final)
        said: list[Part] = [Said(rest)] if rest else []
        if self._calls is not None:
            said = self._calls.push(rest, final=final)
        return [Thought(thought), *said] if thought else said
