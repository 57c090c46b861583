"""The wheel of one platform: `DAWN_EDGE_OPERATORS` names the compiled operators that go into it.

Without that the wheel is for every platform. `scripts/build_wheel.sh` builds both parts.
"""

import os
from pathlib import Path
from typing import Any, Final

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

VARIABLE: Final = "DAWN_EDGE_OPERATORS"
PLACE: Final = "dawn_runtime/engine/ort/operators/compiled"


class OperatorsHook(BuildHookInterface):
    """Puts the library into the wheel and names the platform."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Called by hatchling before it builds a wheel.

        Raises:
            ValueError: The variable names no library of operators.
        """
        named = os.environ.get(VARIABLE)
        if not named or version == "editable":
            return
        library = Path(named).absolute()
        if not library.is_file() or not library.match("operators-*-*.so"):
            raise ValueError(
                f"{VARIABLE}: got {named}, expected a file operators-PROCESSOR-NUMBER.so; "
                "python -m dawn_runtime.cli.build_operators --output FOLDER makes one"
            )
        processor = library.name.split("-")[1]
        build_data["force_include"][str(library)] = f"{PLACE}/{library.name}"
        build_data["pure_python"] = False
        build_data["tag"] = f"py3-none-linux_{processor}"
