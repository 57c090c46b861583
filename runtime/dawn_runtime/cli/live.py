"""Text that is decided in place on a terminal: open positions as dots, the newest tokens bold.

A frame is drawn over the one before. It has no more lines than the terminal: of a longer text the
part around the first open position is shown. Control characters of a model's text are not sent to
the terminal.
"""

import os
import shutil
import unicodedata
from collections.abc import Iterable
from typing import Final, TextIO

from dawn_runtime.arrays import IntArray
from dawn_runtime.decoder import Decoder
from dawn_runtime.decoding import Commit

OPEN: Final = "\N{MIDDLE DOT}"
_BOLD, _PLAIN = "\x1b[1m", "\x1b[0m"
_UP, _CLEAR = "\x1b[{}A", "\r\x1b[J"


class Canvas:
    """Draws an answer while it is decided.

    Args:
        decoder: Has its tokenizer; without one ids are shown.
        given: int64 [P] ids of the prompt as `Decoder.encode` returns them; of a filling with the
            mask id where they are open.
        length: Positions of prompt and answer.
        stream: The terminal.
    """

    def __init__(self, decoder: Decoder, given: IntArray, length: int, stream: TextIO) -> None:
        mask = decoder.manifest.tokens.mask
        open_ = [place for place, token in enumerate(given.tolist()) if token == mask]
        self._begin = min(open_, default=len(given))
        self._tokens: list[int | None] = [
            None if token == mask else token for token in given.tolist()[self._begin :]
        ]
        self._tokens += [None] * (length - len(given))
        self._decoder, self._stream = decoder, stream
        self._bold = "NO_COLOR" not in os.environ
        self._lines = 0

    def show(self, commits: Iterable[Commit], revoked: Iterable[int]) -> None:
        """Draws what stands there after a step."""
        for position in revoked:
            self._tokens[position - self._begin] = None
        new = set()
        for one in commits:
            self._tokens[one.position - self._begin] = one.token
            new.add(one.position - self._begin)
        width, height = shutil.get_terminal_size()
        cells = self._cells(new)
        lines, focus = wrapped(cells, max(width - 1, 1))
        most = max(height - 2, 1)
        first = max(0, min(focus - most // 2, len(lines) - most))
        self._draw(lines[first : first + most])

    def close(self) -> None:
        """Takes the last frame away."""
        self._back()
        self._lines = 0
        self._stream.flush()

    def _cells(self, new: set[int]) -> list[tuple[str, bool, bool]]:
        """Characters in their order: what is shown, whether it is new, whether it is open.

        Tokens side by side are decoded together, since a character may be spread over some.
        """
        cells: list[tuple[str, bool, bool]] = []
        run: list[int] = []
        fresh = False
        for place in range(len(self._tokens) + 1):
            token = self._tokens[place] if place < len(self._tokens) else None
            if run and (token is None or (place in new) != fresh):
                cells += [(char, fresh, False) for char in shown(self._text(run))]
                run = []
            if token is not None:
                run, fresh = [*run, token], place in new
            elif place < len(self._tokens):
                cells.append((OPEN, False, True))
        return cells

    def _text(self, ids: list[int]) -> str:
        if self._decoder.token_texts(ids) is None:
            return " ".join(map(str, ids)) + " "
        return self._decoder.decode(ids)

    def _draw(self, lines: list[list[tuple[str, bool, bool]]]) -> None:
        self._back()
        self._stream.write("\n".join(map(self._painted, lines)))
        self._stream.flush()
        self._lines = len(lines)

    def _painted(self, line: list[tuple[str, bool, bool]]) -> str:
        painted, bold = "", False
        for char, fresh, _ in line:
            if self._bold and fresh != bold:
                painted, bold = painted + (_BOLD if fresh else _PLAIN), fresh
            painted += char
        return painted + (_PLAIN if bold else "")

    def _back(self) -> None:
        if self._lines:
            up = _UP.format(self._lines - 1) if self._lines > 1 else ""
            self._stream.write(up + _CLEAR)


def shown(text: str) -> str:
    """Returns a text without what a terminal would obey, line ends and tabs aside."""
    text = text.replace("\t", "    ")
    return "".join(
        char if char == "\n" or unicodedata.category(char) not in ("Cc", "Cf") else "\ufffd"
        for char in text
    )


def width_of(char: str) -> int:
    """Returns how many columns a character takes."""
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in ("W", "F") else 1


def wrapped(
    cells: list[tuple[str, bool, bool]], width: int
) -> tuple[list[list[tuple[str, bool, bool]]], int]:
    """Cuts cells into lines; returns them, and which of them has the first open position.

    Args:
        cells: What is shown, whether it is new, whether it is open.
        width: Columns of a line, >= 1.
    """
    lines: list[list[tuple[str, bool, bool]]] = [[]]
    used, focus = 0, None
    for cell in cells:
        if cell[0] == "\n":
            lines.append([])
            used = 0
            continue
        if used + width_of(cell[0]) > width and lines[-1]:
            lines.append([])
            used = 0
        if cell[2] and focus is None:
            focus = len(lines) - 1
        lines[-1].append(cell)
        used += width_of(cell[0])
    return lines, len(lines) - 1 if focus is None else focus
