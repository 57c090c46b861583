"""The file that is written for llama.cpp, and what is read from what its tool prints."""

import json
import struct
import sys
from math import prod
from pathlib import Path

import pytest

import bench_llama_cpp
from dawn_models import read_config
from dawn_runtime import OptionError
from random_gguf import TYPES, write_random
from support.checkpoints import write_config
from support.gguf import parsed

WIDE, HEADS = {"hidden_size": 64, "intermediate_size": 96}, {"head_dim": 16}
TOOL = """#!{python}
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open("{record}", "a").write(json.dumps(given) + chr(10))
print("some words first")
for rows in given["-npl"].split(","):
    print(json.dumps({{"pl": int(rows), "speed_tg": 10.0 * int(rows), "t_pp": 0.5}}))
"""


@pytest.mark.parametrize("kind", list(TYPES))
@pytest.mark.parametrize(
    ("family", "architecture"),
    [("sdar", "qwen3"), ("fast-dllm-v2", "qwen2"), ("nemotron", "llama")],
)
def test_every_tensor_is_where_the_file_says(
    family: str, architecture: str, kind: str, tmp_path: Path
) -> None:
    write_config(tmp_path, family, **WIDE, **({} if architecture == "qwen2" else HEADS))
    _, config = read_config(tmp_path)
    size = write_random(tmp_path / "model.gguf", config, kind)
    content = (tmp_path / "model.gguf").read_bytes()
    assert len(content) == size
    said, tensors, begin = parsed(content)
    assert said["general.architecture"] == architecture
    assert said[f"{architecture}.block_count"] == config.num_layers
    assert said[f"{architecture}.attention.key_length"] == config.head_dim
    assert ("output.weight" in tensors) is not config.tied_head
    assert ("blk.0.attn_q_norm.weight" in tensors) is config.qk_norm
    assert ("blk.0.attn_q.bias" in tensors) is config.qkv_bias
    assert tensors["blk.1.ffn_down.weight"][0] == [96, 64], "the innermost size comes first"
    end = 0
    for sizes, number, offset in tensors.values():
        assert offset == -(-end // 32) * 32
        blocks = TYPES[kind]
        plain = len(sizes) == 1
        assert number == (0 if plain else blocks.number)
        end = offset + (4 * sizes[0] if plain else prod(sizes) // 32 * blocks.nbytes)
    assert begin + -(-end // 32) * 32 == size
    norm = begin + tensors["output_norm.weight"][2]
    assert struct.unpack("<2f", content[norm : norm + 8]) == (1.0, 1.0)
    (scale,) = struct.unpack("<e", content[begin : begin + 2])
    assert scale == pytest.approx(TYPES[kind].scale, rel=1e-2)


def test_a_geometry_that_llama_cpp_has_not_is_refused(tmp_path: Path) -> None:
    write_config(tmp_path, "sdar", hidden_size=48, intermediate_size=96)
    _, config = read_config(tmp_path)
    with pytest.raises(OptionError, match="rows of 48; Q8_0 takes multiples of 32"):
        write_random(tmp_path / "model.gguf", config, "Q8_0")


def run(tmp_path: Path, tool: str, monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    write_config(tmp_path, "sdar", **WIDE, **HEADS)
    path = tmp_path / "tool"
    path.write_text(tool)
    path.chmod(0o755)
    command = ["bench_llama_cpp", str(tmp_path), "--tool", str(path), "--json", *flags]
    monkeypatch.setattr(sys, "argv", command)
    return bench_llama_cpp.main()


def test_both_types_are_timed_in_turn(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    tool = TOOL.format(python=sys.executable, record=tmp_path / "record")
    flags = ["--repeat", "2", "--batch", "1", "4", "--prompt-tokens", "8", "--new-tokens", "5"]
    assert run(tmp_path, tool, monkeypatch, *flags) == 0
    found = json.loads(capsys.readouterr().out)["timed"]
    speeds = [(one["kind"], one["batch"], one["tokens_per_second"]) for one in found]
    assert speeds == [("Q8_0", 1, 10.0), ("Q8_0", 4, 40.0), ("Q4_0", 1, 10.0), ("Q4_0", 4, 40.0)]
    assert found[0]["prefill_milliseconds"] == 500
    given = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert [Path(one["-m"]).stem for one in given] == ["Q8_0", "Q4_0"] * 2
    assert (given[0]["-c"], given[0]["-npl"], given[0]["-ntg"]) == ("52", "1,4", "5")


@pytest.mark.parametrize(
    ("tool", "message"),
    [
        ("#!/bin/sh\necho no such flag >&2; exit 3\n", "status 3, and it said 'no such flag'"),
        ("#!/bin/sh\necho '{\"pl\": 1}'\n", "expected timings"),
        ("#!/bin/sh\nexit 0\n", "status 0, and it said 'nothing'"),
    ],
)
def test_a_tool_that_times_nothing_is_told_in_a_line(
    tool: str,
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(tmp_path, tool, monkeypatch, "--types", "Q4_0") == 1
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1
