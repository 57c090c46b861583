"""How many threads are taken: control groups, affinity, load, environment and model size."""

import os
from pathlib import Path

import pytest

from dawn_runtime import threads
from dawn_runtime.machine.control_groups import cpu_quota
from dawn_runtime.manifest_records import Dims
from dawn_runtime.threads import (
    SMALL_MODEL,
    Machine,
    busy_others,
    choose_threads,
    decide,
    passive_openmp,
    physical_cores,
    weights_of,
)

LARGE = 100 * SMALL_MODEL
SEVEN_B = Dims(28, 3584, 28, 4, 128, 152064, 131072)


@pytest.mark.parametrize(
    ("machine", "count", "line", "spinning"),
    [
        (Machine(8, 8, 8), 8, "8 of 8 threads", True),
        (Machine(16, 16, 8), 8, "8 of 16 threads: there are 8 physical cores", True),
        (Machine(8, 2, 2), 2, "2 of 8 threads: this process may run on 2 cores", True),
        (Machine(8, 1, 1), 1, "1 of 8 threads: this process may run on 1 core", False),
        (Machine(8, 8, 8, quota=2), 2, "2 of 8 threads: the container allows 2 CPUs", False),
        (Machine(8, 8, 8, quota=2.9), 2, "2 of 8 threads: the container allows 2.9 CPUs", False),
        (Machine(8, 8, 8, quota=0.25), 1, "1 of 8 threads: the container allows 0.25 CPUs", False),
        (Machine(8, 8, 8, quota=1), 1, "1 of 8 threads: the container allows 1 CPU", False),
        (Machine(8, 8, 8, quota=64), 8, "8 of 8 threads", False),
        (Machine(8, 8, 8, busy=5), 3, "3 of 8 threads: the machine is busy with 5 others", False),
        (Machine(2, 2, 2, busy=1), 1, "1 of 2 threads: the machine is busy with 1 other", False),
        (Machine(8, 8, 8, busy=40), 1, "1 of 8 threads: the machine is busy with 40 others", False),
        (Machine(64, 4, 4, busy=9), 4, "4 of 64 threads: this process may run on 4 cores", True),
        (Machine(8, 8, 8, order=3), 3, "3 of 8 threads: OMP_NUM_THREADS is 3", True),
        (Machine(8, 8, 8, 4, 6, 2), 2, "2 of 8 threads: OMP_NUM_THREADS is 2", False),
    ],
)
def test_the_least_of_what_is_there_is_taken_and_the_reason_said(
    machine: Machine, count: int, line: str, spinning: bool
) -> None:
    found = decide(machine, LARGE)
    assert (found.count, found.line(), found.spinning) == (count, line, spinning)


def test_a_small_model_gets_one_thread_and_a_large_one_all_cores() -> None:
    idle = Machine(8, 8, 8)
    small, large = decide(idle, SMALL_MODEL - 1), decide(idle, SMALL_MODEL)
    assert small.line() == "1 of 8 threads: the model is so small that more do not help"
    assert (small.limited, large.count, large.limited) == (False, 8, False)
    assert decide(Machine(8, 8, 8, quota=2), LARGE).limited


@pytest.mark.parametrize("wanted", [1, 2, 32])
def test_a_number_that_is_asked_for_is_an_order(wanted: int) -> None:
    found = decide(Machine(8, 1, 1, quota=1, busy=9, order=1), 1, wanted)
    assert (found.count, found.line()) == (wanted, f"{wanted} of 8 threads")
    assert not found.spinning


def test_models_of_real_size_are_not_small() -> None:
    assert weights_of(SEVEN_B) > SMALL_MODEL > weights_of(Dims(6, 192, 6, 2, 32, 1024, 512))


def test_a_busy_machine_is_looked_at_only_where_it_matters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "look", lambda: Machine(8, 8, 8))
    monkeypatch.setattr(threads, "busy_others", lambda: 6)
    assert choose_threads(SEVEN_B).count == 2
    monkeypatch.setattr(threads, "busy_others", lambda: pytest.fail("looked"))
    assert choose_threads(Dims(6, 192, 6, 2, 32, 1024, 512)).count == 1
    assert choose_threads(SEVEN_B, 1).count == 1


def test_the_affinity_of_this_process_counts() -> None:
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        assert threads.look().allowed == 1
        assert choose_threads(SEVEN_B).count == 1
    finally:
        os.sched_setaffinity(0, before)


def test_the_environment_counts_where_it_holds_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    orders = {"3": 3, " 2,4": 2, "": None, "many": None, "0": None, "9" * 20: None}
    for text, expected in orders.items():
        monkeypatch.setenv("OMP_NUM_THREADS", text)
        assert threads.look().order == expected


def test_hardware_threads_of_one_core_count_once(tmp_path: Path) -> None:
    for number in range(4):
        folder = tmp_path / f"cpu{number}" / "topology"
        folder.mkdir(parents=True)
        (folder / "thread_siblings_list").write_text(f"{number % 2},{number % 2 + 2}\n")
    assert physical_cores({0, 1, 2, 3}, tmp_path) == 2
    assert physical_cores({0, 2}, tmp_path) == 1
    assert physical_cores({7, 8}, tmp_path) == 2  # of which the system tells nothing


@pytest.mark.parametrize(
    ("text", "busy"), [("0.1 0.2 0.3 5/117 22", 4), ("9 9 9 1/9 2", 0), ("0 0 0 0/9 2", 0), ("", 0)]
)
def test_others_that_run_are_counted_without_this_thread(
    tmp_path: Path, text: str, busy: int
) -> None:
    (tmp_path / "loadavg").write_text(text)
    assert busy_others(tmp_path / "loadavg", looks=1) == busy
    assert busy_others(tmp_path / "nowhere", looks=1) == 0


def test_waiting_threads_of_openmp_sleep_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    with passive_openmp():
        assert os.environ["OMP_WAIT_POLICY"] == "passive"
    assert "OMP_WAIT_POLICY" not in os.environ
    monkeypatch.setenv("OMP_WAIT_POLICY", "active")
    with passive_openmp():
        assert os.environ["OMP_WAIT_POLICY"] == "active"


class Groups:
    """A /proc and a tree of control groups in a folder."""

    def __init__(self, folder: Path) -> None:
        self.proc, self.top = folder / "proc", folder / "with space"
        self.proc.mkdir()
        self.top.mkdir()
        self.mounts: list[str] = []

    def mount(self, kind: str, controllers: str = "rw", root: str = "/") -> Path:
        place = self.top / f"{kind}-{len(self.mounts)}"
        place.mkdir()
        written = str(place).replace(" ", "\\040")
        self.mounts.append(f"31 23 0:2 {root} {written} rw shared:9 - {kind} {kind} {controllers}")
        return place

    def quota(self, *groups: str) -> float | None:
        (self.proc / "cgroup").write_text("\n".join(groups) + "\n")
        (self.proc / "mountinfo").write_text("\n".join(self.mounts) + "\n")
        return cpu_quota(self.proc)


@pytest.fixture
def groups(tmp_path: Path) -> Groups:
    return Groups(tmp_path)


def write(folder: Path, name: str, text: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize(
    ("text", "quota"),
    [("200000 100000\n", 2), ("150000 100000", 1.5), ("max 100000", None), ("", None), ("x", None)],
)
def test_a_group_of_version_2_has_a_quota(groups: Groups, text: str, quota: float | None) -> None:
    write(groups.mount("cgroup2"), "cpu.max", text)
    assert groups.quota("0::/") == quota


def test_the_tightest_group_on_the_way_up_counts(groups: Groups) -> None:
    top = groups.mount("cgroup2")
    write(top / "pod", "cpu.max", "100000 100000")
    write(top / "pod" / "box", "cpu.max", "400000 100000")
    write(top / "pod" / "box" / "inner", "cpu.max", "max 100000")
    write(top / "other", "cpu.max", "10000 100000")
    assert groups.quota("0::/pod/box/inner") == 1
    assert groups.quota("0::/pod/box") == 1
    assert groups.quota("0::/elsewhere") is None


@pytest.mark.parametrize(("quota", "expected"), [("250000", 2.5), ("-1", None)])
def test_a_group_of_version_1_has_a_quota(
    groups: Groups, quota: str, expected: float | None
) -> None:
    groups.mount("cgroup", "rw,memory")
    place = groups.mount("cgroup", "rw,cpu,cpuacct")
    write(place / "box", "cpu.cfs_quota_us", quota)
    write(place / "box", "cpu.cfs_period_us", "100000")
    assert groups.quota("5:memory:/box", "4:cpu,cpuacct:/box", "0::/box") == expected


def test_inside_a_container_the_mount_is_the_group_itself(groups: Groups) -> None:
    place = groups.mount("cgroup", "rw,cpu", root="/docker/1234")
    write(place, "cpu.cfs_quota_us", "300000")
    write(place, "cpu.cfs_period_us", "100000")
    assert groups.quota("4:cpu:/docker/1234") == 3
    assert groups.quota("4:cpu:/../outside") == 3
    write(place / "inner", "cpu.cfs_quota_us", "100000")
    write(place / "inner", "cpu.cfs_period_us", "100000")
    assert groups.quota("4:cpu:/docker/1234/inner") == 1


def test_where_nothing_is_told_there_is_no_quota(groups: Groups, tmp_path: Path) -> None:
    assert cpu_quota(tmp_path / "nowhere") is None
    assert groups.quota("0::/") is None
    groups.mounts.append("broken line")
    assert groups.quota("4:cpu") is None
