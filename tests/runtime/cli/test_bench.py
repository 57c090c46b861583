"""`dawn-bench`: the table, the line of JSON, and what it measures."""

import functools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.bench import main

Run = Any


@pytest.fixture
def run(run_on_fake: Any) -> Run:
    return functools.partial(run_on_fake, main)


SMALL = ("--prompt-tokens", "10", "--new-tokens", "16", "--block-length", "8", "--repeat", "1")


def test_prints_a_table_and_one_line_of_json(run: Run) -> None:
    status, out, err = run(*SMALL, "--policy", "one-per-step", "--cache", "none", "--cache", "dual")
    lines = out.splitlines()
    assert (status, err, len(lines)) == (0, "", 6)
    head = "policy cache tokens/s x first forwards rows fed ms/forward outside %"
    assert " ".join(lines[1].split()) == head
    assert [line.split()[:2] for line in lines[2:4]] == [
        ["one-per-step", "none"],
        ["one-per-step", "dual"],
    ]
    assert lines[4].startswith("x first: tokens/s, those of the first line being 1; ")
    assert "outside %: share of the time" in lines[4]
    report = json.loads(lines[5])
    exact, cached = report["measured"]
    assert (report["prompt_tokens"], report["new_tokens"]) == (10, 16)
    assert (exact["forwards"], exact["rows_fed"]) == (16, 16 * 26)
    assert (cached["forwards"], cached["rows_fed"]) == (16, 2 * 26 + 14 * 8)
    for one in report["measured"]:
        assert one["tokens_per_second"] == pytest.approx(16 / one["seconds"])
        assert 0 <= one["outside_share"] <= 1


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
    assert len(out.splitlines()) == 4
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
    assert (status, err, len(lines)) == (0, "", 6)
    assert lines[1].split()[-3:] == ["x", "ARTIFACT", "artifact"]
    assert [line.split()[-1] for line in lines[2:4]] == [str(artifact_folder), str(other)]
    assert "as fast as the first artifact" in lines[4]
    first, second = json.loads(lines[5])["measured"]
    assert first["speedup"] == 1
    assert second["speedup"] > 0
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
        (["--prompt-tokens", "2000000000"], "a prompt of 2000000000 tokens and 128 new ones exc"),
        (["--new-tokens", "9" * 5000], "argument --new-tokens: got '999"),
        (["--batch", "2000000000"], "--batch is 2000000000: 512000000000 tokens in all"),
        (["--policy", ""], "unknown policy: ''"),
        (["--cache", ""], "unknown cache: ''"),
        (["--new-tokens", "999"], "and 999 new ones exceed the context of 256"),
    ],
)
def test_wrong_usage_is_one_line_and_status_2(arguments: list[str], message: str, run: Run) -> None:
    status, _, err = run(*arguments)
    assert status == 2
    assert message in err
    assert err.count("\n") == 1
