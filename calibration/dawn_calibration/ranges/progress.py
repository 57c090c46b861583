"""How far a run is, kept in a file so that it can be interrupted and taken up."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from dawn_calibration.errors import StateError
from dawn_calibration.ranges.identity import Identity
from dawn_calibration.ranges.samples import Samples
from dawn_calibration.ranges.smoothing import Smoothing
from dawn_calibration.ranges.statistics import Statistics
from dawn_runtime.files import open_plain, open_whole

PHASES: Final = ("observe", "measure")
"""First the magnitudes that smoothing is made from, then those after smoothing."""

_HEADER: Final = "header"
_REMEDY: Final = "delete it to start anew, or give another --state"

_DAMAGE: Final = (EOFError, ValueError, KeyError, TypeError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged archive raises; RuntimeError where its flags claim a password or more."""


@dataclass(slots=True)
class Progress:
    """Everything that a run has found so far.

    Attributes:
        run: What the run is about.
        phase: One of `PHASES`.
        statistics: Magnitudes of this phase.
        samples: Rows kept in this phase.
        done: Prompts finished in this phase.
        forwards: Runs of the network in all phases.
        smoothing: Norm -> what the first phase led to; empty before and without smoothing.
    """

    run: Identity
    phase: str
    statistics: Statistics
    samples: Samples
    done: int = 0
    forwards: int = 0
    smoothing: dict[str, Smoothing] = field(default_factory=dict)

    def save(self, path: Path) -> None:
        """Writes the file, whole or not at all."""
        header = {
            "run": asdict(self.run),
            "phase": self.phase,
            "done": self.done,
            "forwards": self.forwards,
            "smoothing": {name: asdict(found) for name, found in self.smoothing.items()},
        }
        text = np.frombuffer(json.dumps(header).encode(), dtype=np.uint8)
        with open_whole(path) as file:
            np.savez(file, allow_pickle=False, **{_HEADER: text}, **self._arrays())

    def _arrays(self) -> dict[str, Any]:
        """All arrays by name; tensors share memory with what is returned on the CPU."""
        arrays: dict[str, Any] = {"rows": self.statistics.rows, "keys": self.samples.keys}
        for name, site in self.statistics.sites.items():
            arrays[f"counts/{name}"] = site.counts.cpu().numpy()
            arrays[f"channel_max/{name}"] = site.channel_max.cpu().numpy()
        for name, rows in self.samples.rows.items():
            arrays[f"samples/{name}"] = rows.cpu().numpy()
        return arrays

    def fill(self, saved: Saved) -> None:
        """Puts saved arrays in the place of the empty ones.

        Raises:
            StateError: One is missing or has another shape.
        """
        arrays = saved.arrays
        for name, target in self._arrays().items():
            found = arrays.get(name)
            if found is None or found.shape != target.shape or found.dtype != target.dtype:
                raise _damaged(saved.path)
        self.statistics.rows[:] = arrays["rows"]
        self.samples.keys[:] = arrays["keys"]
        for name, site in self.statistics.sites.items():
            site.counts.copy_(torch.from_numpy(arrays[f"counts/{name}"]))
            site.channel_max.copy_(torch.from_numpy(arrays[f"channel_max/{name}"]))
        for name, rows in self.samples.rows.items():
            rows.copy_(torch.from_numpy(arrays[f"samples/{name}"]))


@dataclass(frozen=True, slots=True)
class Saved:
    """Content of the file.

    Attributes:
        path: Where it was.
        header: Everything but the arrays.
        arrays: Arrays by name.
    """

    path: Path
    header: Mapping[str, Any]
    arrays: Mapping[str, NDArray[Any]]

    @property
    def smoothing(self) -> dict[str, Smoothing]:
        """The smoothing found before it was written."""
        saved: Mapping[str, Mapping[str, Any]] = self.header["smoothing"]
        return {
            name: Smoothing(**{**entry, "vector": tuple(entry["vector"])})
            for name, entry in saved.items()
        }


def read_saved(path: Path, run: Identity) -> Saved | None:
    """Reads what an interrupted run has written; None if there is nothing.

    Args:
        path: The file.
        run: What the run that wants to take it up is about.

    Raises:
        StateError: The file cannot be read, is damaged, or of another run.
    """
    try:
        # Opened here: a broken archive would be left open by NumPy.
        with open_plain(path) as stream, np.load(stream, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        header = json.loads(arrays.pop(_HEADER).tobytes())
        saved = Saved(path, header, arrays)
        found, _ = Identity(**header["run"]), (header["phase"], header["done"], header["forwards"])
        _ = saved.smoothing
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StateError(f"{path}: cannot be read ({error.strerror}); {_REMEDY}") from error
    except _DAMAGE as error:
        raise _damaged(path) from error
    differences = run.differences(found)
    if differences:
        raise StateError(
            f"{path}: left by a run with {', '.join(differences)}; repeat that run to finish it, "
            f"or {_REMEDY}"
        )
    return saved


def _damaged(path: Path) -> StateError:
    return StateError(f"{path}: damaged; {_REMEDY}")
