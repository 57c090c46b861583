"""The scripts a person runs."""

import json
import math
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest

from dawn_models import Checkpoint, Told, parameter_shapes, read_config

ROOT = Path(__file__).parent.parent.parent


def run(*command: str | Path) -> subprocess.CompletedProcess[str]:
    finished = subprocess.run(
        [sys.executable, *map(str, command)], capture_output=True, text=True, cwd=ROOT, check=False
    )
    assert finished.returncode == 0, finished.stderr
    return finished


@pytest.mark.parametrize("model", ["tiny-dream", "tiny-llada"])
def test_a_short_training_run_writes_a_checkpoint_and_resumes(tmp_path: Path, model: str) -> None:
    command = ["scripts/train_tiny.py", model, "--smoke", "--threads", "1", "--save-every", "3"]
    paths = ["--output", tmp_path / "out", "--state", tmp_path / "state.pt"]
    first = json.loads(run(*command, *paths).stdout)
    assert first["loss"] > 0
    checkpoint = Checkpoint.open(tmp_path / "out")
    assert checkpoint.config.family == model.removeprefix("tiny-")
    assert (tmp_path / "out" / "tokenizer.json").exists()
    again = run(*command, *paths)
    assert "resumed at step 6" in again.stderr
    assert json.loads(again.stdout)["loss"] is None


def test_growth_of_memory_is_the_rise_of_a_line() -> None:
    from soak import _rise

    assert _rise(np.full(100, 7)) == pytest.approx(0)
    assert _rise(1000 + 3 * np.arange(101)) == pytest.approx(300)
    swinging = 1000 + 10 * (np.arange(1000) // 50 % 2)
    assert abs(_rise(swinging)) < 2, "up and down again is no growth"


def test_a_random_checkpoint_of_real_geometry_is_sharded(tmp_path: Path) -> None:
    from make_random_checkpoint import GEOMETRIES, write

    small = {
        "hidden_size": 28,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "vocab_size": 152_000,
    }
    GEOMETRIES["small"] = GEOMETRIES["0.5b"] | small
    write("small", tmp_path / "random", shard_bytes=4096, seed=0)
    assert len(list((tmp_path / "random").glob("*.safetensors"))) > 2
    assert Checkpoint.open(tmp_path / "random").config.num_layers == 2
    tiny, words = ROOT / "models" / "tiny-dream", tmp_path / "words"
    write("small", words, shard_bytes=2**24, seed=0, tokenizer=tiny)
    assert (words / "tokenizer.json").read_bytes() == (tiny / "tokenizer.json").read_bytes()
    said = json.loads((words / "config.json").read_text())
    assert (said["mask_token_id"], said["vocab_size"]) == (1023, 152_000)


PARAMETERS = {
    "0.5b": 0.49,
    "0.5b-28-layers": 0.55,
    "dream-7b": 7.6,
    "llada-8b": 8.0,
    "a2d-0.6b": 0.6,
    "sdar-4b": 4.4,
    "wedlm-8b": 8.2,
    "nemotron-3b": 3.8,
}


def test_every_real_geometry_is_read_and_of_its_size(tmp_path: Path) -> None:
    from make_random_checkpoint import GEOMETRIES, TOLD

    sizes = {}
    for name in PARAMETERS:
        (tmp_path / "config.json").write_text(json.dumps(GEOMETRIES[name]))
        _, config = read_config(tmp_path, told=TOLD.get(name, Told()))
        shapes = parameter_shapes(config).values()
        sizes[name] = sum(math.prod(shape) for shape in shapes) / 1e9
    assert sizes == pytest.approx(PARAMETERS, rel=0.03)


def test_operators_of_a_step_are_told_apart(exported: Callable[..., Path]) -> None:
    folder = exported("dream")
    command = ["scripts/bench_operators.py", folder, "--rows", "12", "--fed", "4", "--repeat", "2"]
    found = json.loads(run(*command, "--json").stdout)["measured"]
    assert [one["step"] for one in found] == ["12 rows", "4 rows, 8 cached"]
    for one in found:
        assert one["ratio"] == 1
        assert one["operators"]["Attention"] > 0
    assert "ms  Attention" in run(*command).stdout


def test_what_tokens_beside_the_row_cost_is_told_for_drafts_of_both_kinds(
    exported: Callable[..., Path],
) -> None:
    command = ["scripts/bench_rows.py", exported("dream"), "--block", "4", "--cached", "8"]
    finished = run(*command, "--repeat", "1", "--json")
    costs = json.loads(finished.stdout)["costs"]
    kinds = {(one["step"]["how"], one["step"]["tries"]): one for one in costs}
    assert kinds["plain", 0]["cost"] == 1
    assert (kinds["rows", 2]["step"]["batch"], kinds["rows", 2]["step"]["fed"]) == (3, 4)
    assert (kinds["shared", 3]["step"]["batch"], kinds["shared", 3]["step"]["fed"]) == (1, 10)
    share = json.loads(finished.stdout)["cost"]
    assert 0 <= share <= 1
    assert finished.stderr.splitlines()[-1] == f"verify:cost={share:.2f}"
    assert len(finished.stderr.splitlines()) == 2 + len(costs)


def test_what_a_new_token_costs_is_told_for_every_length(exported: Callable[..., Path]) -> None:
    command = ["scripts/bench_lengths.py", exported("dream"), "--lengths", "40", "64"]
    command += ["--prompt-tokens", "8", "--new-tokens", "8", "--caches", "dual", "--repeat", "1"]
    command += ["--windows", "blocks:block_length=4"]
    command += ["pruned:block_length=4,near=2,recent=6,sinks=4"]
    finished = run(*command, "--json")
    costs = json.loads(finished.stdout)["costs"]
    assert [cost["length"] for cost in costs] == [40, 64, 40, 64]
    whole, longer, pruned, same = costs
    assert whole["rows"] < longer["rows"]
    assert whole["keys"] < longer["keys"]
    assert (pruned["rows"], pruned["keys"]) == (same["rows"], same["keys"])
    assert all(cost["ratio"] >= 1 and cost["milliseconds"] > cost["outside"] for cost in costs)
    assert len(finished.stderr.splitlines()) == 1 + len(costs)


def test_what_a_step_feeds_and_moves_is_counted(exported: Callable[..., Path]) -> None:
    command = ["scripts/bench_steps.py", exported("dream"), "--prompt-tokens", "8", "--json"]
    command += ["--new-tokens", "8", "--block-length", "4", "--repeat", "1", "--threads", "1"]
    finished = run(*command, "--caches", "none", "dual", "dual:feed=undecided")
    none, dual, undecided = json.loads(finished.stdout)["costs"]
    assert (none["forwards"], none["fed"], none["read"], none["written"]) == (8, 16, 0, 0)
    assert none["ratio"] == 1
    assert none["fed"] > dual["fed"] > undecided["fed"]
    assert dual["forwards"] == undecided["forwards"] == 8
    assert 0 < dual["read"] <= undecided["read"]  # by sixteens
    row = (none["weights"] - dual["weights"]) / (none["fed"] - dual["fed"])
    assert row == pytest.approx(
        (none["weights"] - undecided["weights"]) / (none["fed"] - undecided["fed"])
    )
    assert all(one["milliseconds"] > one["outside"] > 0 for one in (none, dual, undecided))
    assert len(finished.stderr.splitlines()) == 4


def test_of_the_embedding_a_run_reads_a_row_a_position(tmp_path: Path) -> None:
    from bench_steps import weight_bytes

    whole = onnx.numpy_helper.from_array(np.zeros((4, 3), np.int8), "matrix")
    table = onnx.numpy_helper.from_array(np.zeros((10, 4), np.float32), "table")
    both = onnx.numpy_helper.from_array(np.zeros((10, 2), np.int8), "both")
    nodes = [
        onnx.helper.make_node("Gather", ["table", "ids"], ["rows"]),
        onnx.helper.make_node("MatMulInteger", ["rounded", "matrix"], ["product"]),
        onnx.helper.make_node("Gather", ["both", "ids"], ["more"]),
        onnx.helper.make_node("MatMulInteger", ["product", "both"], ["head"]),
    ]
    graph = onnx.helper.make_graph(nodes, "step", [], [], [whole, table, both])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "model.onnx")
    assert weight_bytes(tmp_path / "model.onnx") == (12 + 20, 16)


def test_what_steps_cost_besides_the_model_is_told_alone_and_in_pairs(
    exported: Callable[..., Path],
) -> None:
    few = ["--answers", "1", "--tokens", "8", "--block-length", "4", "--json"]
    command = ["scripts/bench_outside.py", exported("dream"), *few]
    alone = run(*command)
    costs = json.loads(alone.stdout)["costs"]
    assert {(one["policy"], one["steps"]) for one in costs} >= {("one-per-step", 8)}
    assert all(one["microseconds"] > 0 for one in costs)
    assert len(alone.stderr.splitlines()) == 1 + len(costs)
    paired = run(*command, "--against", "runtime", "--pairs", "1")
    pairs = json.loads(paired.stdout)["costs"]
    assert [set(pair) for pair in pairs] == [{"before", "after"}] * len(costs)
    assert [pair["before"]["steps"] for pair in pairs] == [one["steps"] for one in costs]


@pytest.mark.parametrize(
    ("command", "message"),
    [
        (["evaluate_tasks.py", "nowhere"], "nowhere: no such folder"),
        (["evaluate_tasks.py", "nowhere", "--items", "0"], "--items"),
        (["evaluate_tasks.py", "nowhere", "--set", "tau"], "--set 'tau' is not KEY=VALUE"),
        (["train_tiny.py", "tiny-dream", "--output", "x", "--share", "sums=2"], "got 'sums=2'"),
        (["soak.py", "nowhere"], "nowhere: no such folder"),
        (["soak.py", "nowhere", "--generations", "9"], "got 9, expected at least 10"),
        (["bench_policies.py", "--repeat", "1", "--artifact", "nowhere"], "nowhere: no such"),
        (["bench_operators.py", "nowhere"], "nowhere: no such folder"),
        (["bench_operators.py", "nowhere", "--own-operators"], "there is no library; run"),
        (["bench_rows.py", "nowhere"], "nowhere: no such folder"),
        (["bench_lengths.py", "nowhere"], "nowhere: no such folder"),
        (
            ["bench_lengths.py", "models/tiny-dream-int8", "--lengths", "64"],
            "--lengths: got 64, expected 128 (--prompt-tokens and --new-tokens) to 512",
        ),
        (["bench_lengths.py", "models/tiny-dream-int8", "--lengths", "600"], "got 600, expected"),
        (["bench_outside.py", "nowhere"], "nowhere: no such folder"),
        (["bench_outside.py", "nowhere", "--against", "x"], "x: holds no dawn_runtime"),
    ],
)
def test_a_script_says_in_one_line_what_is_wrong(command: list[str], message: str) -> None:
    script, *arguments = command
    finished = subprocess.run(
        [sys.executable, f"scripts/{script}", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        check=False,
    )
    assert finished.returncode in (1, 2)
    *usage, line = finished.stderr.splitlines()
    assert not usage or usage[0].startswith("usage: "), finished.stderr
    assert message in line
