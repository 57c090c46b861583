"""Joules and the state of a machine, read from folders as Linux lays them out."""

import stat
import time
from pathlib import Path

import pytest

from dawn_runtime.machine import condition, energy
from dawn_runtime.machine.condition import Condition, look_at, power_mode, processor, remarks
from dawn_runtime.machine.energy import EnergyMeter, counters, rails, total_joules


def write(root: Path, **files: str) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def rapl(tmp_path: Path) -> Path:
    """Two processors, of which one tells its memory and its cores too."""
    zones = {
        "intel-rapl:0": ("package-0", "1000000", "5000000"),
        "intel-rapl:0:0": ("core", "1", "5000000"),
        "intel-rapl:0:1": ("dram", "2000000", "5000000"),
        "intel-rapl:1": ("package-1", "4000000", "5000000"),
        "intel-rapl:1:1": ("dram", "0", "5000000"),
        "intel-rapl:2": ("psys", "9", "5000000"),
    }
    for folder, (name, joules, full) in zones.items():
        at = tmp_path / "class" / "powercap" / folder
        write(at, name=f"{name}\n", energy_uj=f"{joules}\n", max_energy_range_uj=f"{full}\n")
    return tmp_path


def test_energy_of_processors_is_counted_once(rapl: Path) -> None:
    meter = EnergyMeter(rapl)
    assert meter.sources == ("package-0", "dram", "package-1", "dram-1")
    meter.start()
    at = rapl / "class" / "powercap"
    (at / "intel-rapl:0" / "energy_uj").write_text("3500000")
    (at / "intel-rapl:0:0" / "energy_uj").write_text("3000000")
    (at / "intel-rapl:1" / "energy_uj").write_text("500000")  # began again at five million
    (at / "intel-rapl:0:1" / "energy_uj").write_text("2250000")
    found = meter.stop()
    assert found == {"package-0": 2.5, "dram": 0.25, "package-1": 1.5, "dram-1": 0.0}
    assert total_joules(found) == 4.25


def test_a_counter_that_may_not_be_read_is_left_out(
    rapl: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    secret = rapl / "class" / "powercap" / "intel-rapl:0" / "energy_uj"
    read = Path.read_text

    def refuse(path: Path, *args: object, **kwargs: object) -> str:
        if path == secret:
            raise PermissionError(13, "Permission denied")
        return read(path, *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(Path, "read_text", refuse)
    assert [one.name for one in counters(rapl)] == ["dram", "package-1", "dram-1"]


def test_power_of_a_board_is_volts_times_amperes_over_time(tmp_path: Path) -> None:
    at = tmp_path / "class" / "hwmon" / "hwmon3"
    write(at, name="ina3221", in1_label="VDD_IN", in1_input="5000", curr1_input="2000")
    write(at, in2_label="VDD_CPU_CV", in2_input="5000", curr2_input="400", in3_label="NC")
    write(tmp_path / "class" / "hwmon" / "hwmon0", name="coretemp", in1_label="x", in1_input="1")
    assert [(rail.name, rail.watts()) for rail in rails(tmp_path)] == [
        ("VDD_IN", 10.0),
        ("VDD_CPU_CV", 2.0),
    ]
    meter = EnergyMeter(tmp_path)
    for _ in range(2):  # a meter is used again and again
        began = time.perf_counter()
        meter.start()
        time.sleep(0.25)
        joules = meter.stop()
        most = 10 * (time.perf_counter() - began)
        assert 2.5 <= joules["VDD_IN"] <= most
        assert joules["VDD_IN"] == pytest.approx(5 * joules["VDD_CPU_CV"])
        assert total_joules(joules) == joules["VDD_IN"], "the rail that holds the others"


def test_a_rail_that_falls_asleep_has_no_joules_of_that_span(tmp_path: Path) -> None:
    at = tmp_path / "class" / "hwmon" / "hwmon3"
    write(at, name="ina3221", in1_label="A", in1_input="5000", curr1_input="2000")
    write(at, in2_label="B", in2_input="5000", curr2_input="400")
    meter = EnergyMeter(tmp_path)
    meter.start()
    (at / "curr2_input").rename(at / "asleep")
    assert [*meter.stop()] == ["A"]
    (at / "asleep").rename(at / "curr2_input")
    meter.start()
    assert [*meter.stop()] == ["A", "B"]


def test_a_machine_that_tells_nothing_has_no_joules(tmp_path: Path) -> None:
    meter = EnergyMeter(tmp_path)
    meter.start()
    assert (meter.sources, meter.stop(), total_joules({})) == ((), {}, None)


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    for core, clock in enumerate(("1200000", "2000000", "1600000")):
        at = tmp_path / "devices" / "system" / "cpu" / f"cpu{core}"
        write(at, **{"cpufreq/scaling_cur_freq": clock, "cpufreq/scaling_max_freq": "2400000"})
        write(at, **{"cpufreq/scaling_governor": "schedutil\n"})
        write(at, **{"thermal_throttle/core_throttle_count": f"{core}\n"})
    thermal = tmp_path / "class" / "thermal"
    write(thermal, **{"thermal_zone0/temp": "41000", "thermal_zone1/temp": "63500"})
    write(thermal, **{"thermal_zone2/temp": "no number"})
    write(thermal, **{"cooling_device0/type": "pwm-fan", "cooling_device0/cur_state": "2"})
    write(thermal, **{"cooling_device1/type": "cpu-alert", "cooling_device1/cur_state": "0"})
    (tmp_path / "loadavg").write_text("0.25 1.00 2.00 3/99 1234\n")
    return tmp_path


def test_the_state_of_a_machine(machine: Path) -> None:
    found = look_at(machine, machine / "loadavg")
    assert found == Condition(2, 1600.0, 2400.0, ("schedutil",), 63.5, 3, ())


def test_what_slowed_a_machine_down_is_remarked(machine: Path) -> None:
    before = look_at(machine, machine / "loadavg")
    cpu = machine / "devices" / "system" / "cpu"
    write(cpu / "cpu1", **{"thermal_throttle/core_throttle_count": "8"})
    write(machine / "class" / "thermal", **{"cooling_device1/cur_state": "1"})
    after = look_at(machine, machine / "loadavg")
    assert remarks(before, after, cores=4, threads=2) == [
        "throttled: the machine lowered its clocks 7 times meanwhile",
        "throttled: cpu-alert at work when it ended",
        "clocks may change: governor schedutil",
    ]


def test_a_busy_machine_is_remarked_and_a_quiet_one_is_not() -> None:
    quiet = Condition(0, None, None, (), None, None, ())
    busy = Condition(2, None, None, ("performance",), None, 0, ())
    assert remarks(quiet, quiet, cores=2, threads=2) == []
    assert remarks(busy, busy, cores=2, threads=1) == [
        "busy: before it began 2 threads of others ran or wanted to on 2 cores"
    ]


def test_a_machine_that_tells_nothing(tmp_path: Path) -> None:
    nothing = look_at(tmp_path, tmp_path / "loadavg")
    assert nothing == Condition(0, None, None, (), None, None, ())
    assert remarks(nothing, nothing, cores=1, threads=1) == []
    assert power_mode(tmp_path) is None
    assert processor(tmp_path / "cpuinfo", tmp_path / "model") == ""


def test_the_power_mode_of_a_board_is_that_of_nvpmodel(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "nvpmodel"
    program.write_text("#!/bin/sh\necho 'NV Power Mode: 15W'\necho 0\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    assert power_mode(tmp_path) == "15W"
    program.write_text("#!/bin/sh\nexit 1\n")
    assert power_mode(tmp_path) is None


def test_the_power_mode_of_a_notebook_is_its_profile(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(condition.shutil, "which", lambda name: None)
    write(tmp_path, **{"firmware/acpi/platform_profile": "low-power\n"})
    assert power_mode(tmp_path) == "low-power"


def test_the_name_of_board_or_processor(tmp_path: Path) -> None:
    write(tmp_path, cpuinfo="processor\t: 0\nmodel name\t: AMD EPYC 1\nflags: x\n")
    assert processor(tmp_path / "cpuinfo", tmp_path / "model") == "AMD EPYC 1"
    write(tmp_path, model="NVIDIA Jetson Orin Nano\0")
    assert processor(tmp_path / "cpuinfo", tmp_path / "model") == "NVIDIA Jetson Orin Nano"


def test_files_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    assert energy.text_at(tmp_path / "nothing") is None
    assert energy.text_at(tmp_path) is None
