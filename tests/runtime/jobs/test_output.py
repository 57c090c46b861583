"""Where the answers of a job go: whole lines on disk, and streams in the order of the input."""

import errno
import json
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime import OptionError
from dawn_runtime.files import Destination
from dawn_runtime.jobs import AnswerFile, AnswerStream

DIGESTS = {number: f"{number:012}:settings" for number in (1, 2, 4, 5)}


def document(number: int) -> dict[str, object]:
    return {"line": number, "digest": DIGESTS[number], "text": f"é{number}"}


def opened(path: Path, *, overwrite: bool = False) -> AnswerFile:
    return AnswerFile(Destination.of(path), DIGESTS, overwrite=overwrite)


def test_answers_are_on_disk_before_the_next_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    sync = os.fsync
    monkeypatch.setattr(
        os, "fsync", lambda file: synced.append(os.fstat(file).st_size) or sync(file)
    )
    output = opened(tmp_path / "out")
    output.add([document(4)])
    assert synced[-1] == (tmp_path / "out").stat().st_size > 0
    output.add([document(1), document(2)])
    assert synced[-1] == (tmp_path / "out").stat().st_size
    output.close()


def test_a_whole_file_is_put_into_the_order_of_the_input(tmp_path: Path) -> None:
    output = opened(tmp_path / "out")
    output.add([document(4)])
    output.add([document(5), document(1), document(2)])
    output.finish()
    output.close()
    found = [line[9:10] for line in (tmp_path / "out").read_text().splitlines()]
    assert found == ["1", "2", "4", "5"]
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


@given(data=st.data())
def test_a_file_that_was_cut_anywhere_is_gone_on_with(
    data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("cut") / "out"
    order = data.draw(st.permutations(list(DIGESTS)))
    output = opened(path)
    output.add([document(number) for number in order])
    output.close()
    whole = path.read_bytes()
    path.write_bytes(
        whole[: data.draw(st.integers(0, len(whole)))] + bytes(data.draw(st.sampled_from([0, 9])))
    )
    output = opened(path)
    assert output.answered == frozenset(order[: len(output.answered)])
    rest = [number for number in order if number not in output.answered]
    output.add([document(number) for number in rest])
    assert not rest or path.read_bytes() == whole, "no torn line"
    output.finish()
    output.close()
    assert path.read_bytes() == b"".join(sorted(whole.splitlines(keepends=True)))


def test_old_answers_are_thrown_away_when_there_is_one_in_their_place(tmp_path: Path) -> None:
    path = tmp_path / "out"
    path.write_text("precious\n")
    opened(path, overwrite=True).close()
    assert path.read_text() == "precious\n"
    output = opened(path, overwrite=True)
    output.add([document(2)])
    output.close()
    assert [json.loads(line)["line"] for line in path.read_text().splitlines()] == [2]


def test_nobody_else_writes_the_file_meanwhile(tmp_path: Path) -> None:
    output = opened(tmp_path / "out")
    with pytest.raises(OptionError, match="another run is writing it; wait for its end"):
        opened(tmp_path / "out")
    output.close()
    opened(tmp_path / "out").close()


def test_a_file_that_got_nothing_is_taken_away_unless_it_was_there(tmp_path: Path) -> None:
    opened(tmp_path / "new").close()
    (tmp_path / "old").touch()
    opened(tmp_path / "old").close()
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_full_disk_loses_no_line_that_was_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    output = opened(tmp_path / "out")
    output.add([document(1)])

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            output.add([document(2)])
    output.close()
    output = opened(tmp_path / "out")
    assert 1 in output.answered
    output.close()


def test_errors_of_earlier_runs_are_counted(tmp_path: Path) -> None:
    output = opened(tmp_path / "out")
    output.add([{"line": 2, "digest": DIGESTS[2], "error": "too long"}, document(1)])
    output.close()
    output = opened(tmp_path / "out")
    assert (output.errors, output.first_error) == (1, "too long")
    output.close()


@given(order=st.permutations(list(DIGESTS)), cut=st.integers(0, 4))
def test_a_stream_gets_the_order_of_the_input(order: list[int], cut: int) -> None:
    seen: list[int] = []
    stream = AnswerStream(list(DIGESTS), lambda document: seen.append(document["line"]))
    for part in (order[:cut], order[cut:]):
        stream.add([document(number) for number in part])
        waiting = [number for number in DIGESTS if number not in seen]
        assert not waiting or waiting[0] not in part
    assert seen == list(DIGESTS)
