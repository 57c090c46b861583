"""A session of ONNX Runtime that captures and replays runs as its provider for CUDA does."""

from __future__ import annotations

from typing import Any


class CapturingSession:
    """A session on the CPU that heeds the run option `gpu_graph_id`.

    The first run with a number is captured. Later ones with the same number repeat it at the
    addresses and in the shapes that were bound then, whatever is bound now; a negative number is an
    ordinary run. 0 stands for ONNX Runtime's own choice and is never asked for.

    Attributes:
        captured: Number -> binding of the run that was captured.
        replays: How many runs were repeats.
    """

    def __init__(self, session: Any) -> None:
        self._session = session
        self.captured: dict[int, Any] = {}
        self.replays = 0

    def io_binding(self) -> Any:
        return self._session.io_binding()

    def run_with_iobinding(self, binding: Any, options: Any) -> None:
        number = int(options.get_run_config_entry("gpu_graph_id"))
        assert number != 0
        if number > 0:
            self.replays += number in self.captured
            binding = self.captured.setdefault(number, binding)
        self._session.run_with_iobinding(binding)
