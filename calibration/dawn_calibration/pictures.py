"""Pictures of calibration results, as PNG files that appear whole or not at all."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dawn_runtime.files import open_whole
from dawn_runtime.native import importing

_DOTS_PER_INCH = 130


def check_pictures() -> None:
    """Finds out before any work whether pictures can be drawn.

    Raises:
        DependencyError: matplotlib is not installed, or does not load.
    """
    with importing("pictures need", "matplotlib", "pip install 'dawn-edge[calibrate]'"):
        if importlib.util.find_spec("matplotlib") is None:
            raise ModuleNotFoundError(name="matplotlib")
        importlib.import_module("matplotlib.figure")  # it may be there and not load


@contextmanager
def picture(path: Path, rows: int, columns: int, *, title: str) -> Iterator[list[Any]]:
    """Gives out empty axes and writes what was drawn on them.

    Args:
        path: Where the PNG shall be; its folder must exist.
        rows: Rows of axes.
        columns: Columns of axes.
        title: Line above all of them.

    Yields:
        The axes of matplotlib, row by row.

    Raises:
        DependencyError: matplotlib is not installed.
    """
    check_pictures()
    # Not through pyplot, which keeps global state and looks for a display.
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5.4 * columns, 3.9 * rows), layout="constrained")
    FigureCanvasAgg(figure)
    figure.suptitle(title)
    axes = figure.subplots(rows, columns, squeeze=False)
    yield list(axes.flat)
    with open_whole(path) as file:
        figure.savefig(file, format="png", dpi=_DOTS_PER_INCH)
