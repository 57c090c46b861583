"""What a builder is doing, as a progress bar on standard error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from dawn_runtime.engine.tensorrt.module import TensorRT
from dawn_runtime.native import importing


def make_monitor(trt: TensorRT, *, progress: bool, cancelled: Callable[[], bool]) -> Any:
    """Returns a progress monitor for a builder, whose threads call it.

    The bar counts the steps of the outermost phase; the innermost one stands behind it.

    Args:
        trt: The module.
        progress: Whether anything is shown.
        cancelled: Asked after every step whether the build shall stop.

    Raises:
        DependencyError: tqdm is not installed.
    """
    with importing("building plans needs", "tqdm", "pip install 'dawn-edge[tensorrt]'"):
        from tqdm import tqdm

    class Monitor(trt.module.IProgressMonitor):  # type: ignore[name-defined,misc]  # run time
        def __init__(self) -> None:
            trt.module.IProgressMonitor.__init__(self)
            self.bars: dict[str, tqdm[Any]] = {}

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            if parent_phase is None:
                self.bars[phase_name] = tqdm(
                    total=num_steps, desc=phase_name.lower(), unit="step", disable=not progress
                )
            for bar in self.bars.values():
                bar.set_postfix_str("" if parent_phase is None else phase_name.lower())

        def step_complete(self, phase_name: str, step: int) -> bool:
            if phase_name in self.bars:
                self.bars[phase_name].update()
            return not cancelled()

        def phase_finish(self, phase_name: str) -> None:
            if phase_name in self.bars:
                self.bars.pop(phase_name).close()

    return Monitor()
