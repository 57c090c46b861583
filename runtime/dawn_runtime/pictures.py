"""Pictures of results, as PNG or SVG files that appear whole or not at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dawn_runtime.files import open_whole
from dawn_runtime.native import importing

_DOTS_PER_INCH = 130
_USUAL_SIZE = (5.4, 3.9)
_REMEDY = "pip install 'dawn-edge[calibrate]', or matplotlib alone"


def check_pictures() -> None:
    """Finds out before any work whether pictures can be drawn.

    Raises:
        DependencyError: matplotlib is not installed, or does not load.
    """
    with importing("pictures need", "matplotlib", _REMEDY):
        if importlib.util.find_spec("matplotlib") is None:
            raise ModuleNotFoundError(name="matplotlib")
        importlib.import_module("matplotlib.figure")  # it may be there and not load


@contextmanager
def picture(
    path: Path,
    rows: int,
    columns: int,
    *,
    title: str,
    size: tuple[float, float] = _USUAL_SIZE,
) -> Iterator[list[Any]]:
    """Gives out empty axes and writes what was drawn on them.

    Args:
        path: Where the picture shall be; its folder must exist. It is a PNG, or an SVG if the name
            ends so.
        rows: Rows of axes.
        columns: Columns of axes.
        title: Line above all of them.
        size: Width and height of each in inches.

    Yields:
        The axes of matplotlib, row by row.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    check_pictures()
    # Not through pyplot, which keeps global state and looks for a display.
    from matplotlib import rc_context
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(size[0] * columns, size[1] * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False)
    yield list(axes.flat)
    with open_whole(path) as file:
        if path.suffix.lower() != ".svg":
            figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
            return
        # Neither the day nor chance is in the file: the same picture is the same file.
        with rc_context({"svg.hashsalt": "dawn"}):
            figure.savefig(file, format="svg", metadata={"Date": None})
