r"""Reasoning in front of an answer.

Between tags, such as `<think>\nlet me see\n</think>\n\nIt is seven.`
"""

from typing import Final, Literal

from dawn_serve.talk.calls import beginning

OPEN: Final = "<think>"
CLOSE: Final = "</think>"


class ThoughtReader:
    """Tells reasoning from what follows it, in a text that comes in pieces.

    White space around reasoning is neither. Reasoning that does not end goes on to the end.

    Args:
        is_open: Whether the prompt has opened it.
    """

    def __init__(self, is_open: bool) -> None:
        self._at: Literal["start", "first", "inside", "behind", "over"] = (
            "first" if is_open else "start"
        )
        self._held = ""

    def push(self, piece: str, *, final: bool = False) -> tuple[str, str]:
        """Returns reasoning, and what follows it, as far as they are certain now.

        Args:
            piece: What follows.
            final: Whether nothing follows it.
        """
        self._held += piece
        if self._at == "start":
            self._start(final)
        thought = self._inside(final) if self._at in ("first", "inside") else ""
        if self._at == "behind":
            self._held = self._held.lstrip()
            self._at = "over" if self._held else "behind"
        rest = ""
        if self._at == "over":
            rest, self._held = self._held, ""
        return thought, rest

    def _start(self, final: bool) -> None:
        """Looks for the tag at the beginning of the text."""
        text = self._held.lstrip()
        if text.startswith(OPEN):
            self._held, self._at = text[len(OPEN) :], "first"
        elif final or not OPEN.startswith(text):
            self._at = "over"

    def _inside(self, final: bool) -> str:
        """Takes reasoning off what is held."""
        if self._at == "first":
            self._held = self._held.lstrip()
        place = self._held.find(CLOSE)
        if place >= 0:
            thought, self._held = self._held[:place].rstrip(), self._held[place + len(CLOSE) :]
            self._at = "behind"
            return thought
        kept = 0 if final else beginning(self._held, CLOSE)
        thought = self._held[: len(self._held) - kept].rstrip()
        self._held = self._held[len(thought) :]
        self._at = "inside" if thought or self._at == "inside" else "first"
        return thought
