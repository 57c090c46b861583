"""Ours beside peers, which are stand-ins here: what they are given, and what is made of it."""

import json
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import bench_peers
from dawn_runtime.errors import DawnError
from dawn_runtime.machine.energy import EnergyMeter
from peers.contestants import EVIDENCE_FROM
from peers.watch import OWN, Answer, watch

ROOT = Path(__file__).parents[2]
ARTIFACT = ROOT / "models" / "tiny-dream-int8"

TOOL = """#!{python}
import json, sys
given = dict(zip(sys.argv[1::2], sys.argv[2::2]))
open("{record}", "a").write(json.dumps(given) + chr(10))
print("loading", file=sys.stderr)
steps = int(given["--diffusion-steps"])
for step in range(steps):
    print(f"\\rdiffusion step: {{step}}/{{steps}} [== ] 0%", end="", flush=True)
print("\\n\\ntotal time: 2000.00ms, time per step: 62.50ms", flush=True)
print("an answer")
"""

MODEL = """
class DreamModel:
    device = "cpu"

    @classmethod
    def from_pretrained(cls, checkpoint, torch_dtype):
        assert str(torch_dtype) == "torch.bfloat16"
        return cls()

    def eval(self):
        return self

    def to(self, device):
        return self

    def __call__(self, ids):
        assert ids.shape[0] == 1 and ids.shape[1] > 32

    def diffusion_generate(self, ids, **given):
        print("words of the model")
        assert ids.shape == given["attention_mask"].shape
        assert (given["max_new_tokens"], given["steps"]) == (32, 1)
        return ids, {"dawn": 5, "confidence_threshold": 32}[given["alg"]]
"""


@pytest.fixture
def peers(tmp_path: Path) -> list[str]:
    """Flags that name stand-ins."""
    tool = tmp_path / "tool"
    tool.write_text(TOOL.format(python=sys.executable, record=tmp_path / "record"))
    tool.chmod(0o755)
    model = tmp_path / "code" / "dream" / "model"
    model.mkdir(parents=True)
    (model / "modeling_dream.py").write_text(MODEL)
    (tmp_path / "prompts").write_text("What is 3 + 4?\n\nName a city.\n")
    (tmp_path / "model.gguf").touch()
    return [
        *("--prompts", str(tmp_path / "prompts"), "--new-tokens", "32"),
        *("--torch-code", str(tmp_path / "code"), "--checkpoint", str(tmp_path)),
        *("--llama-tool", str(tool), "--gguf", str(tmp_path / "model.gguf")),
    ]


def run(monkeypatch: pytest.MonkeyPatch, *flags: str) -> int:
    monkeypatch.setitem(EVIDENCE_FROM, "dream", 5)  # the stand-in reads none
    monkeypatch.setattr(sys, "argv", ["bench_peers", str(ARTIFACT), *flags])
    return bench_peers.main()


def test_all_answer_the_same_prompts_in_turns(
    peers: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("bench_peers.EnergyMeter", lambda: EnergyMeter(tmp_path / "nothing"))
    flags = ["--turns", "2", "--threads", "1", "--json", "--cache", "none", "dual"]
    assert run(monkeypatch, *peers, *flags) == 0
    printed = capsys.readouterr()
    found = {one["name"]: one for one in json.loads(printed.out)["measured"]}
    assert list(found) == ["dawn-edge none", "dawn-edge dual", "torch", "llama.cpp"]
    assert [one["tokens"] for one in found.values()] == [64] * 4
    assert (found["torch"]["forwards"], found["llama.cpp"]["forwards"]) == (10, 64)
    assert 2 <= found["dawn-edge dual"]["forwards"] <= 64
    llama = found["llama.cpp"]
    assert llama["tokens_per_second"] == 16
    assert llama["milliseconds_per_forward"] == 62.5
    assert llama["ratios"]["llama.cpp"] == [1, 1, 1]
    ours = found["dawn-edge dual"]
    low, high = ours["spread"]
    assert ours["ratios"]["llama.cpp"][1:] == pytest.approx([low / 16, high / 16])
    assert list(ours["ratios"]) == ["torch", "llama.cpp"]
    assert {one["joules_per_token"] for one in found.values()} == {None}
    assert printed.err.count("\n") == 5
    given = [json.loads(line) for line in (tmp_path / "record").read_text().splitlines()]
    assert [one["-p"] for one in given] == ["What is 3 + 4?", "Name a city."] * 2
    first = given[0]
    assert first["-ub"] == first["-c"] == first["-b"]
    assert int(first["-ub"]) > 32
    assert (first["--diffusion-steps"], first["--diffusion-block-length"]) == ("32", first["-c"])
    assert (first["--top-k"], first["--temp"], first["-t"]) == ("1", "0", "1")


def test_with_one_per_step_the_published_code_decides_one_token_a_run(
    peers: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--turns", "1", "--threads", "1", "--policy", "one-per-step", "--cache", "dual"]
    assert run(monkeypatch, *peers[:8], *flags) == 0
    _, ours, torch = capsys.readouterr().out.splitlines()
    assert ours.split()[:2] == ["dawn-edge", "dual"]
    assert [line.split()[-6:-4] for line in (ours, torch)] == [["64", "64"]] * 2


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda flags: flags[:4], "there is no peer; give --torch-code or --llama-tool"),
        (lambda flags: flags[:6], "--torch-code and --checkpoint go together"),
        (lambda flags: flags[:-2], "--llama-tool and --gguf go together"),
        (lambda flags: [*flags, "--new-tokens", "33"], "got 33, expected a multiple of 32"),
        (lambda flags: [*flags, "--torch-code", "/"], "/ has no dream/model; give a clone"),
        (lambda flags: [*flags, "--gguf", "nowhere"], "--gguf: nowhere does not exist"),
        (lambda flags: [*flags, "--llama-tool", "/nowhere"], "/nowhere is no program"),
        (lambda flags: [*flags, "--prompts", "/dev/null"], "has no line with a prompt"),
    ],
)
def test_what_cannot_be_compared_is_refused_in_a_line(
    spoil: Any,
    message: str,
    peers: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run(monkeypatch, *spoil(peers)) == 2
    printed = capsys.readouterr().err
    assert message in printed
    assert printed.count("\n") == 1


def test_models_whose_attention_the_published_code_does_not_read_are_refused(
    peers: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["bench_peers", str(ARTIFACT), *peers])
    assert bench_peers.main() == 2
    assert "has 6 layers; DAWN's code reads the attention of those from the 25th on" in (
        capsys.readouterr().err
    )


class Counting(EnergyMeter):
    """A meter of one watt and a clock."""

    def start(self) -> None:
        self.begun = time.perf_counter()

    def stop(self) -> dict[str, float]:
        return {"clock": time.perf_counter() - self.begun}


def python(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_energy_is_that_between_begin_and_end() -> None:
    code = """
import time
time.sleep(0.5)
print('{"begin": 0}', flush=True)
time.sleep(0.2)
print('words\\n{"seconds": 1.5, "tokens": 4, "forwards": 2}', flush=True)
time.sleep(0.5)
"""
    (answer,) = watch(python(code), OWN, 1, meter=Counting())
    assert answer.joules is not None
    assert answer.joules >= 0.15
    assert Answer(answer.seconds, answer.tokens, answer.forwards) == Answer(1.5, 4, 2)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('no such model')", "status 1, 0 of 1 answers, .* 'no such model'"),
        ("", "status 0, 0 of 1 answers, and it said 'nothing'"),
        ("print('{\"begin\": 0}')", "status 0, 0 of 1 answers"),
    ],
)
def test_a_command_without_an_answer_is_told_with_its_last_words(code: str, message: str) -> None:
    with pytest.raises(DawnError, match=message):
        watch(python(code), OWN, 1)
    with pytest.raises(DawnError, match="/nowhere: cannot be run: No such file"):
        watch(["/nowhere"], OWN, 1)
