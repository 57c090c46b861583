"""Finding TensorRT, and hearing what it complains about.

One code path serves three modules of the same interface: `tensorrt` (JetPack, data centres; 10.3 to
11.x), `tensorrt_lean` (its runtime alone, for version-compatible plans) and `tensorrt_rtx`
(TensorRT for RTX). They load plans of their own product only.
"""

import importlib
import re
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from dawn_runtime.errors import DependencyError

PRODUCTS: Final = {"tensorrt": ("tensorrt", "tensorrt_lean"), "tensorrt_rtx": ("tensorrt_rtx",)}
"""Product -> modules that run its plans, the full one first; only that one builds."""

OLDEST: Final = (10, 3)
"""Oldest release of `tensorrt` that is supported: the one of JetPack 6.2."""

_KEPT_ERRORS = 3


@dataclass(frozen=True, slots=True)
class TensorRT:
    """An imported module of TensorRT.

    Attributes:
        product: A key of `PRODUCTS`.
        module: The module; it has no type information.
    """

    product: str
    module: Any

    @property
    def version(self) -> str:
        """Its full version, such as `10.3.0`."""
        return str(self.module.__version__)

    @property
    def release(self) -> tuple[int, ...]:
        """Its version as numbers."""
        return release(self.version)

    @property
    def name(self) -> str:
        """Product and version for people."""
        return f"{self.product} {self.version}"


def release(version: str) -> tuple[int, ...]:
    """Returns `10.3.0` as (10, 3, 0)."""
    return tuple(int(part) for part in re.findall(r"\d+", version))


def find_tensorrt(
    products: Sequence[str] = tuple(PRODUCTS), *, builds: bool = False, purpose: str = "is needed"
) -> TensorRT:
    """Imports the first module of some products that is installed and loads.

    Args:
        products: Keys of `PRODUCTS`.
        builds: Whether plans shall be built, not only run.
        purpose: End of the sentence "tensorrt ...", for the message.

    Raises:
        DependencyError: None is installed, none loads, or it is older than `OLDEST`.
    """
    reasons = []
    for product in products:
        for name in PRODUCTS[product][: 1 if builds else None]:
            try:
                found = TensorRT(product, importlib.import_module(name))
            except (ImportError, OSError) as error:  # OSError: a library it is linked against
                reasons.append(f"{name}: {' '.join(str(error).split())}")
                continue
            _check_release(found)
            return found
    raise DependencyError(
        f"{' or '.join(products)} {purpose} and cannot be imported ({'; '.join(reasons)}); JetPack "
        "brings it, elsewhere install TensorRT for your CUDA"
    )


def _check_release(found: TensorRT) -> None:
    if found.product == "tensorrt" and found.release < OLDEST:
        oldest = ".".join(map(str, OLDEST))
        raise DependencyError(
            f"{found.name} is installed, at least {oldest} is needed; update TensorRT or JetPack"
        )


def make_log(trt: TensorRT) -> Any:
    """Returns a logger for TensorRT that keeps the last errors; `reason` words them."""

    class Log(trt.module.ILogger):  # type: ignore[name-defined,misc]  # found at run time
        def __init__(self) -> None:
            trt.module.ILogger.__init__(self)
            self.errors: deque[str] = deque(maxlen=_KEPT_ERRORS)

        def log(self, severity: Any, msg: str) -> None:
            if int(severity) <= int(trt.module.ILogger.ERROR):
                self.errors.append(" ".join(msg.split()))

    return Log()


def reason(log: Any) -> str:
    """Returns what a logger of `make_log` heard last, in at most 300 characters."""
    return f"{'; '.join(log.errors) or 'TensorRT gave no reason':.300}"
