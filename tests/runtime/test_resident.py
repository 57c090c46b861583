"""The peak of resident memory: what Linux says of this process, read and begun anew."""

from pathlib import Path

import numpy as np
import pytest

from dawn_runtime.machine.resident import begin_peak, peak_resident_bytes


def test_the_peak_of_this_process_holds_what_it_had() -> None:
    before = peak_resident_bytes()
    ballast = np.ones(before + 10**8, np.uint8)
    assert peak_resident_bytes() > ballast.nbytes


def test_a_peak_that_is_begun_forgets_what_was_freed(tmp_path: Path) -> None:
    ballast = np.ones(3 * 10**8, np.uint8)
    high, size = peak_resident_bytes(), ballast.nbytes
    del ballast
    if begin_peak():
        assert peak_resident_bytes() < high - size / 2
    assert not begin_peak(tmp_path / "nowhere"), "a system that does not let us says so"


def test_what_is_told_is_in_kibibytes(tmp_path: Path) -> None:
    (tmp_path / "status").write_text("Name:\tpython\nVmPeak:\t 9999 kB\nVmHWM:\t    1234 kB\n")
    assert peak_resident_bytes(tmp_path) == 1234 * 1024


def test_a_system_that_does_not_tell_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        peak_resident_bytes(tmp_path)
    (tmp_path / "status").write_text("Name:\tpython\n")
    with pytest.raises(OSError, match="does not tell the peak of resident memory"):
        peak_resident_bytes(tmp_path)
