"""How far a run is, kept in a file so that it can be interrupted and taken up."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_calibration.errors import StateError
from dawn_calibration.ranges.archive import DAMAGE, read_archive, write_archive
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.recording import Trail
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.smoothing import Smoothing
from dawn_calibration.ranges.statistics import Statistics
from dawn_runtime import StepOutputs
from dawn_runtime._fields import Fields
from dawn_runtime.errors import ArtifactError
from dawn_runtime.files import reason_of

PHASES: Final = ("observe", "measure")
"""First the magnitudes that smoothing is made from, then those after smoothing."""

_FORMAT: Final = 2
_REMEDY: Final = "delete it to start anew, or give another --state"
_TRAIL: Final = {"tokens": np.int64, "confidence": np.float32, "attention": np.float32}
"""What is kept of a run, and its type."""


@dataclass(slots=True)
class Progress:
    """Everything that a run has found so far.

    Attributes:
        run: What the run is about.
        phase: One of `PHASES`.
        statistics: Magnitudes of this phase.
        samples: Rows kept in this phase.
        threads: CPU threads that torch runs on: the last bits of sums depend on their number.
        done: Prompts finished in this phase.
        forwards: Runs of the network in all phases, for finished prompts.
        smoothing: Norm -> what the first phase led to; empty before and without smoothing.
        trail: Runs of the next prompt that are counted already.
    """

    run: Identity
    phase: str
    statistics: Statistics
    samples: Samples
    threads: int
    done: int = 0
    forwards: int = 0
    smoothing: dict[str, Smoothing] = field(default_factory=dict)
    trail: Trail = field(default_factory=list)

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all.

        Raises:
            OSError: It cannot be written.
        """
        header = {
            "format": _FORMAT,
            "run": asdict(self.run),
            "phase": self.phase,
            "threads": self.threads,
            "done": self.done,
            "forwards": self.forwards,
            "trail": len(self.trail),
            "smoothing": {name: asdict(found) for name, found in self.smoothing.items()},
        }
        write_archive(path, header, {**self._arrays(), **self._trail_arrays()})

    @property
    def size(self) -> int:
        """Bytes of the arrays in the file, those of the trail aside."""
        return sum(array.nbytes for array in self._arrays().values())

    def _arrays(self) -> dict[str, NDArray[Any]]:
        """All arrays by name; tensors share memory with what is returned on the CPU."""
        arrays: dict[str, NDArray[Any]] = {
            "rows": self.statistics.rows,
            "keys": self.samples.keys,
        }
        for name, site in self.statistics.sites.items():
            arrays[f"counts/{name}"] = site.counts.cpu().numpy()
            arrays[f"channel_max/{name}"] = site.channel_max.cpu().numpy()
        for name, rows in self.samples.rows.items():
            arrays[f"samples/{name}"] = rows.cpu().numpy()
        return arrays

    def _trail_arrays(self) -> dict[str, NDArray[Any]]:
        return {
            f"trail/{number}/{part}": getattr(outputs, part)
            for number, outputs in enumerate(self.trail)
            if outputs is not None
            for part in _TRAIL
        }

    def fill(self, saved: Saved, prompts: int) -> None:
        """Takes over what was saved, in the place of what is empty.

        Args:
            saved: Content of the file.
            prompts: How many the run has.

        Raises:
            StateError: An array is missing, has another shape, or cannot have come about.
        """
        arrays = saved.arrays
        if saved.done > prompts or (saved.trail and saved.done == prompts):
            raise _damaged(saved.path)
        for name, target in self._arrays().items():
            found = arrays.get(name)
            if found is None or found.shape != target.shape or found.dtype != target.dtype:
                raise _damaged(saved.path)
        self.done, self.forwards = saved.done, saved.forwards
        self.smoothing = dict(saved.smoothing)
        self.trail[:] = saved.trail
        self.statistics.rows[:] = arrays["rows"]
        self.samples.keys[:] = arrays["keys"]
        for name, site in self.statistics.sites.items():
            site.counts.copy_(torch.from_numpy(arrays[f"counts/{name}"]))
            site.channel_max.copy_(torch.from_numpy(arrays[f"channel_max/{name}"]))
        for name, rows in self.samples.rows.items():
            rows.copy_(torch.from_numpy(arrays[f"samples/{name}"]))
        if not (self.statistics.sound() and self.samples.sound()):
            raise _damaged(saved.path)


@dataclass(frozen=True, slots=True)
class Saved:
    """Content of the file; the fields are those of `Progress`.

    Attributes:
        path: Where it was.
        arrays: Arrays by name.
    """

    path: Path
    run: Identity
    phase: str
    threads: int
    done: int
    forwards: int
    smoothing: Mapping[str, Smoothing]
    trail: Trail
    arrays: Mapping[str, NDArray[Any]]


def read_saved(path: Path, run: Identity) -> Saved | None:
    """Reads what an interrupted run has written; None if there is nothing.

    Args:
        path: The file.
        run: What the run that wants to take it up is about.

    Raises:
        StateError: The file cannot be read, is damaged, or of another run.
    """
    try:
        text, arrays = read_archive(path)
        header = Fields.parse(text, str(path), _REMEDY)
        if header.integer("format") != _FORMAT:
            raise StateError(f"{path}: left by another version of dawn-edge; {_REMEDY}")
        saved = _saved(path, header, arrays)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({reason_of(error)}); {_REMEDY}") from error
    except (*DAMAGE, ArtifactError) as error:
        raise _damaged(path) from error
    differences = run.differences(saved.run)
    if differences:
        raise StateError(
            f"{path}: left by a run with {', '.join(differences)}; repeat that run to finish it, "
            f"or {_REMEDY}"
        )
    return saved


def _saved(path: Path, header: Fields, arrays: Mapping[str, NDArray[Any]]) -> Saved:
    """Takes the header apart; raises one of `DAMAGE`, or `ArtifactError`, at anything odd."""
    run, smoothing = header.nested("run"), header.nested("smoothing")
    run.only("model", "data", "settings")
    phase = header.text("phase")
    if phase not in PHASES:
        raise ValueError(f"there is no phase {phase}")
    return Saved(
        path=path,
        run=Identity(
            run.nested("model").values,
            run.text("data"),
            {name: run.nested("settings").option(name) for name in run.nested("settings").values},
        ),
        phase=phase,
        threads=header.integer("threads", minimum=1),
        done=header.integer("done"),
        forwards=header.integer("forwards"),
        smoothing={name: _smoothing(smoothing.nested(name)) for name in smoothing.values},
        trail=_trail(header.integer("trail", maximum=len(arrays)), arrays),
        arrays=arrays,
    )


def _smoothing(entry: Fields) -> Smoothing:
    entry.only("strength", "vector", "error", "plain_error")
    return Smoothing(
        strength=None if entry.values["strength"] is None else entry.number("strength"),
        vector=entry.numbers("vector"),
        error=entry.number("error"),
        plain_error=entry.number("plain_error"),
    )


def _trail(length: int, arrays: Mapping[str, NDArray[Any]]) -> Trail:
    """The runs of a prompt that was interrupted; None where nothing was kept of one."""
    trail: Trail = []
    for number in range(length):
        parts = {part: arrays.get(f"trail/{number}/{part}") for part in _TRAIL}
        if all(array is None for array in parts.values()):
            trail.append(None)
            continue
        kept: dict[str, Any] = {}
        for part, dtype in _TRAIL.items():
            array = parts[part]
            if array is None or array.dtype != dtype:
                raise ValueError(f"run {number} of the trail has no {part}")
            kept[part] = array
        trail.append(StepOutputs(**kept))
    return trail


def _damaged(path: Path) -> StateError:
    return StateError(f"{path}: damaged; {_REMEDY}")
