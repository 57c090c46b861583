"""`dawn-bench`: the table, the line of JSON, and what it measures."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder
from dawn_runtime.artifact import read_manifest
from dawn_runtime.bench.measuring import tokens_read
from dawn_runtime.cli.bench import main

Run = Any


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


SIZES = ("--new-tokens", "16", "--block-length", "8", "--repeat", "1")
SMALL = ("--random", "--prompt-tokens", "10", *SIZES)


def test_prints_tables_and_one_line_of_json(run: Run) -> None:
    status, out, err = run(*SMALL, "--policy", "one-per-step", "--cache", "none", "--cache", "dual")
    lines = out.splitlines()
    assert (status, err) == (0, "")
    assert "1 prompt of RANDOM TOKENS: " in out
    at = next(number for number, line in enumerate(lines) if line.startswith("policy"))
    head = "policy cache tokens/s x first 95 % forwards rows fed head rows ms/forward outside %"
    assert " ".join(lines[at].split()) == head
    times = "first token step p50 step p90 step p99 answer p50 answer p90 answer p99 tokens peak MB"
    assert " ".join(lines[at + 3].split()) == f"policy cache {times}"
    for line in (lines[at + 1 : at + 3], lines[at + 4 : at + 6]):
        assert [one.split()[:2] for one in line] == [
            ["one-per-step", "none"],
            ["one-per-step", "dual"],
        ]
    assert lines[at + 6].startswith("x first: tokens/s, those of the first line being 1, ")
    assert "of fewer than 6 turns an interval is from the least to the greatest" in lines
    report = json.loads(lines[-1])
    exact, cached = report["measured"]
    assert (exact["prompt_tokens"], exact["new_tokens"]) == (10, 16)
    assert (exact["forwards"], exact["rows_fed"], exact["head_rows"]) == (16, 16 * 26, 2 * 36)
    assert (cached["forwards"], cached["rows_fed"]) == (16, 2 * 26 + 14 * 8)
    assert report["prompts"]["source"] == "random tokens"
    for one in report["measured"]:
        assert one["tokens_per_second"] == pytest.approx(one["tokens"] / one["seconds"])
        assert 0 <= one["outside_share"] <= 1
        assert one["first_token"]["p50"] < one["answer"]["p50"] == pytest.approx(one["seconds"])
        assert 0 < one["step"]["p50"] <= one["step"]["p90"] <= one["step"]["p99"]
        assert one["turns"] == [one["seconds"]]
        assert one["peak_bytes"] > 1e6


def test_guards_are_timed_with_the_rule(run: Run) -> None:
    eager = ("--policy", "threshold", "--set", "threshold=0", "--cache", "none", "--json")
    found = []
    for guards in ((), ("--guard", "adjacent", "--guard", "budget:nats=9")):
        status, out, _ = run(*SMALL, *eager, *guards)
        assert status == 0
        found.append(json.loads(out))
    assert [report["guard"] for report in found] == [None, ["adjacent", "budget:nats=9"]]
    free, careful = (report["measured"][0]["forwards"] for report in found)
    assert free == 2
    assert careful > free


def test_quiet_leaves_out_what_the_columns_mean(run: Run) -> None:
    _, out, _ = run(*SMALL, "--cache", "none", "--quiet")
    lines = out.splitlines()
    assert len(lines) == 7 + len(json.loads(lines[-1])["remarks"])
    assert "x first: " not in out


def test_json_alone_and_every_combination(run: Run) -> None:
    policies = ("--policy", "threshold", "--policy", "dawn")
    status, out, _ = run(*SMALL, "--json", "--batch", "2", *policies)
    measured = json.loads(out)["measured"]
    assert (status, out.count("\n")) == (0, 1)
    found = [(one["policy"], one["cache"]) for one in measured]
    pairs = [(policy, cache) for policy in ("threshold", "dawn") for cache in ("none", "dual")]
    assert found == pairs, "no handing over to a plain rule, however short the answer"


def test_artifacts_are_timed_in_turn(run: Run, artifact_folder: Path) -> None:
    other = artifact_folder.with_name("other")
    shutil.copytree(artifact_folder, other)
    status, out, err = run(*SMALL, "--cache", "none", "--repeat", "3", "--compare", str(other))
    lines = out.splitlines()
    assert (status, err) == (0, "")
    at = next(number for number, line in enumerate(lines) if line.startswith("policy"))
    assert lines[at].split()[-5:] == ["x", "ARTIFACT", "95", "%", "artifact"]
    assert [line.split()[-1] for line in lines[at + 1 : at + 3]] == [
        str(artifact_folder),
        str(other),
    ]
    assert "as fast as the first artifact" in out
    first, second = json.loads(lines[-1])["measured"]
    assert (first["speedup"], first["speedup_interval"], first["ratio"]) == (1, [1, 1], 1)
    assert second["speedup"] > 0
    low, high = second["speedup_interval"]
    assert low <= second["speedup"] <= high
    turns = [a / b for a, b in zip(first["turns"], second["turns"], strict=True)]
    assert second["speedup"] == pytest.approx(sorted(turns)[1]), "in pairs, and then the median"
    assert (low, high) == pytest.approx((min(turns), max(turns)))
    assert (first["forwards"], first["rows_fed"]) == (second["forwards"], second["rows_fed"])


def test_artifacts_of_two_models_are_not_compared(run: Run, artifact_folder: Path) -> None:
    other = artifact_folder.with_name("other")
    shutil.copytree(artifact_folder, other)
    manifest = read_manifest(other)
    larger = replace(manifest, dims=replace(manifest.dims, hidden=manifest.dims.hidden * 2))
    (other / "dawn.json").write_text(larger.to_json())
    status, _, err = run(*SMALL, "--compare", str(other))
    assert status == 2
    assert "its sizes are not those of" in err


def test_the_default_is_the_policy_of_the_artifact(run: Run) -> None:
    _, out, _ = run(*SMALL, "--json", "--set", "threshold=0.5", "--cache", "prefix:refresh=4")
    (one,) = json.loads(out)["measured"]
    assert (one["policy"], one["cache"]) == ("threshold", "prefix:refresh=4")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--repeat", "0"], "argument --repeat: got '0', expected a number of at least 1"),
        (["--cache", "dul"], "unknown cache: 'dul'; did you mean 'dual'"),
        (["--set", "x"], "--set 'x' is not KEY=VALUE"),
        (
            ["--random", "--prompt-tokens", "2000000000"],
            "a prompt of 2000000000 tokens and 128 new ones exc",
        ),
        (["--new-tokens", "9" * 5000], "argument --new-tokens: got '999"),
        (
            ["--random", "--batch", "2000000000"],
            "--batch is 2000000000: 512000000000 tokens in all",
        ),
        (["--policy", ""], "unknown policy: ''"),
        (["--cache", ""], "unknown cache: ''"),
        (["--random", "--new-tokens", "999"], "and 999 new ones exceed the context of 256"),
        (["--new-tokens", "999"], "prompt 1 of 8: a prompt of "),
        (["--prompt-tokens", "9"], "--prompt-tokens is of --random"),
        (["--items", "9"], "--items needs --tasks"),
        (["--tasks", "srt"], "unknown task: 'srt'; did you mean 'sort'"),
        (["--random", "--tasks"], "not allowed with argument"),
        (["--input", "/no/such.jsonl"], "/no/such.jsonl: no such file"),
        (["--markdown", "x.md"], "--markdown needs --output"),
        (["--plot", "x.jpg"], "names a picture, FILE.png or FILE.svg"),
        (["--csv", "/no/such/folder/x.csv"], "--csv /no/such/folder/x.csv: the folder does not ex"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], message: str, run: Run) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1


def measured(run: Run, *arguments: str) -> Any:
    """The line of JSON of a run."""
    status, out, err = run(*arguments, "--json")
    assert (status, err) == (0, "")
    return json.loads(out)


def test_prompts_are_real_unless_noise_is_asked_for(run: Run) -> None:
    report = measured(run, *SIZES, "--cache", "none")
    assert report["prompts"]["source"] == "shipped"
    assert report["prompts"]["count"] == report["measured"][0]["answers"] == 8
    assert len(report["prompts"]["sha256"]) == 64
    assert report["measured"][0]["prompt_tokens"] is None


def test_prompts_of_a_file_and_of_tasks(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    lines = [
        {"prompt": "a"},
        {"input_ids": [1, 2, 3]},
        {"messages": [{"role": "u", "content": ""}]},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    report = measured(run, *SIZES, "--cache", "none", "--input", str(path))
    found = report["prompts"]
    assert (found["source"], found["name"], found["count"]) == ("file", "in.jsonl", 3)
    assert found["tokens"][:2] == [1, 3]
    report = measured(run, *SIZES, "--cache", "none", "--tasks", "sort,reverse", "--items", "2")
    found = report["prompts"]
    assert (found["source"], found["name"], found["count"]) == ("tasks", "sort,reverse", 4)


def test_a_template_has_no_length_of_its_own(run: Run, tmp_path: Path) -> None:
    path = tmp_path / "in.jsonl"
    path.write_text('{"prompt": "a"}\n{"template": ["a", 3]}\n')
    status, out, err = run("--input", str(path))
    assert (status, out) == (2, "")
    assert f"{path} line 2: is a template" in err


def test_tokens_are_those_that_a_reader_gets(run: Run, decoder: Decoder, tmp_path: Path) -> None:
    """Of the fake model many answers end early; `generate` gives what is read."""
    path = tmp_path / "in.jsonl"
    prompts = [[5, number] for number in range(30)]
    path.write_text("".join(json.dumps({"input_ids": one}) + "\n" for one in prompts))
    sizes = ("--new-tokens", "200", "--cache", "none", "--repeat", "1", "--batch", "7")
    (one,) = measured(run, "--input", str(path), *sizes)["measured"]
    results = decoder.generate_batch(prompts, max_new_tokens=200, cache="none", fallback_length=0)
    assert any(result.finish_reason == "end" for result in results)
    special = decoder.manifest.tokens.all
    read = [token for result in results for token in result.tokens.tolist()]
    assert one["tokens"] == sum(token not in special for token in read) < 30 * 200
    assert one["answers"] == 30
    assert one["rows_fed"] == sum(result.rows_fed for result in results)


def test_padding_is_nothing_to_read(decoder: Decoder) -> None:
    mask, end, pad = 258, 257, 256
    result = decoder.generate(input_ids=[1], max_new_tokens=4)
    for tokens, count in (([1, 2, 3], 3), ([1, pad, pad], 1), ([1, end, 2], 2), ([], 0)):
        ids = np.array(tokens, dtype=np.int64)
        assert tokens_read(replace(result, tokens=ids), (mask, end, pad)) == count


def test_every_combination_of_what_is_repeated(run: Run) -> None:
    lengths = ("--new-tokens", "8", "--new-tokens", "16", "--block-length", "4", "--block-length")
    sizes = (*lengths, "8", "--batch", "1", "--batch", "2", "--threads", "1", "--threads", "2")
    flags = ("--random", "--prompt-tokens", "10", *sizes, "--repeat", "1", "--cache", "none")
    found = measured(run, *flags)["measured"]
    names = ("new_tokens", "block_length", "batch", "threads")
    assert [tuple(one[name] for name in names) for one in found] == [
        (new, block, batch, threads)
        for new in (8, 16)
        for block in (4, 8)
        for batch in (1, 2)
        for threads in (1, 2)
    ]
    assert [one["answers"] for one in found] == [one["batch"] for one in found]
    _, out, _ = run(*flags)
    head = next(line for line in out.splitlines() if line.startswith("policy"))
    assert head.split()[:6] == ["policy", "cache", "threads", "batch", "block", "new"]


def test_what_a_machine_tells_is_in_the_result(run: Run) -> None:
    report = measured(run, *SMALL, "--cache", "none")
    assert report["command"][:2] == ["dawn-bench", report["artifact"]]
    machine = report["machine"]
    assert machine["peak_of"] in ("a turn", "the process since it was started")
    assert {"line", "processor", "engine", "power_mode", "energy", "before", "after"} <= {*machine}
    assert isinstance(report["remarks"], list)
