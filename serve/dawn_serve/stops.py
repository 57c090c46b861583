"""Stop texts: where a growing text ends, and how much of it is certain not to be one of them."""


class StopText:
    """Cuts a text that comes in pieces at the first of some texts.

    Args:
        stops: The texts, none of them empty.

    Attributes:
        found: The one that was found, None so far.
    """

    def __init__(self, stops: tuple[str, ...]) -> None:
        self._stops = stops
        self._held = ""
        self.found: str | None = None

    def push(self, piece: str, *, final: bool = False) -> str:
        """Returns what can be given out now; nothing once one was found.

        Args:
            piece: What follows.
            final: Whether nothing follows it.
        """
        if self.found is not None:
            return ""
        text = self._held + piece
        places = [(place, stop) for stop in self._stops if (place := text.find(stop)) >= 0]
        if places:
            place, self.found = min(places)
            self._held = ""
            return text[:place]
        kept = 0 if final else self._beginning(text)
        self._held = text[len(text) - kept :]
        return text[: len(text) - kept]

    def _beginning(self, text: str) -> int:
        """Length of the longest end of a text with which one of them may begin."""
        longest = min(len(text), max((len(stop) - 1 for stop in self._stops), default=0))
        lengths = range(longest, 0, -1)
        return next((n for n in lengths if any(s.startswith(text[-n:]) for s in self._stops)), 0)
