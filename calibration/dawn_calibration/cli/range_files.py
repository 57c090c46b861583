"""The files that `dawn-calibrate ranges` writes, checked before there is any work to lose."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from dawn_calibration.errors import CalibrationError
from dawn_runtime.cli.places import check_apart, destination
from dawn_runtime.errors import OptionError


@dataclass(frozen=True, slots=True)
class RangeFiles:
    """What a run leaves, and what it keeps until then.

    Attributes:
        output: The calibration itself; report and picture have its name and another ending.
        state: How far the run is, deleted once all else is in its place.
    """

    output: Path
    state: Path

    @classmethod
    def of(cls, output: Path, state: Path | None) -> RangeFiles:
        """Takes what the flags say; without `--state` it is beside the output.

        Raises:
            OptionError: The output is not the name of a file.
        """
        _check_file(output, "--output")
        return cls(output, state or output.with_name(f"{output.name}.state"))

    @property
    def report(self) -> Path:
        """Page of Markdown."""
        return self.output.with_suffix(".md")

    @property
    def picture(self) -> Path:
        """Picture, PNG."""
        return self.output.with_suffix(".png")

    def check(self, data: Path | None = None, *, force: bool) -> None:
        """Refuses places where the files cannot be, or where others are.

        A report without its calibration, but with a state, is what an interrupted run has left.

        Args:
            data: File of prompts, which is none of these; None if there is none.
            force: Whether what is there may be replaced.

        Raises:
            OptionError: A file has no place, or two have the same.
            CalibrationError: A file is there already.
        """
        self._check_places()
        if data is not None:
            written = {"--output": self.output, "report": self.report, "picture": self.picture}
            for name, path in {**written, "--state": self.state}.items():
                check_apart({name: path}, {"--data": data})
        interrupted = self.state.exists() and not self.output.exists()
        if force or interrupted:
            return
        results = {"calibration": self.output, "report": self.report, "picture": self.picture}
        for kind, path in results.items():
            if path.exists():
                raise CalibrationError(f"{path}: a {kind} is there already; --force replaces it")

    def _check_places(self) -> None:
        _check_file(self.report, "report beside --output,")
        _check_file(self.picture, "picture beside --output,")
        _check_file(self.state, "--state")
        paths = (self.output, self.report, self.picture, self.state)
        if len({path.resolve() for path in paths}) < len(paths):
            raise OptionError(
                f"got {', '.join(map(str, paths))} for --output, its report, its picture and "
                "--state; expected four files: let --output end in .json and --state in .state"
            )


def _check_file(path: Path, flag: str) -> None:
    """Refuses a place where no file can be put, or where others cannot be beside it."""
    if destination(path, flag).streams:
        raise OptionError(
            f"{flag} {path}: is a pipe or a device; several files belong together, give the name "
            "of a plain one"
        )
