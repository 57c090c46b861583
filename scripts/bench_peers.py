r"""Tokens a second and joules of ours and of what else decodes the same weights, in turns.

    python scripts/bench_peers.py build/dream-int8 --prompts prompts.txt \
        --torch-code DAWN --torch-python PYTHON --checkpoint DREAM \
        --llama-tool llama-diffusion-cli --gguf DREAM.gguf

The peers are those of the user, and each may be left out:

==========  ========================================================================================
torch       the published code of DAWN (`--torch-code`, a clone of its repository) in BF16, run by
            `--torch-python` on the checkpoint that the artifact was made of; with `--policy
            one-per-step` it decides one token in each run of the model, else by DAWN's rule
llama.cpp   `--llama-tool`, its example for diffusion models, on `--gguf`, a file that its own
            converter made of that checkpoint, or `random_gguf.py` of a random one; one token is
            decided in each run of the model, from left to right
==========  ========================================================================================

A prompt is a line, and becomes what a user says in a chat; all decode it to the same number of new
tokens, end tokens or not, on as many threads. In each turn every contestant answers every prompt in
a process of its own; who begins changes from turn to turn. Loading and a first run are not timed
where the tool allows that; llama.cpp's tool times decoding alone but has no first run. Shown are
medians over turns, and how many times as fast as each peer a contestant is, turn by turn. Ours
decodes with each `--cache`, by `--policy`. Joules are those of the processors and their memory
(RAPL) or of the board (its INA sensors), where the machine tells.

Standard output gets a table, or JSON with --json.
"""

from __future__ import annotations

import argparse
import shutil
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from dawn_runtime import Decoder
from dawn_runtime.artifact import read_manifest
from dawn_runtime.cli.common import Parser, count, print_json, run_command, threads
from dawn_runtime.errors import OptionError
from dawn_runtime.machine.energy import EnergyMeter
from dawn_runtime.manifest import Manifest
from peers.contestants import EVIDENCE_FROM, LLAMA, TORCH, Contestant, contestants_of
from peers.watch import Answer


@dataclass(frozen=True)
class Turn:
    """What a contestant took for all prompts, once."""

    seconds: float
    tokens: int
    forwards: int
    joules: float | None

    @classmethod
    def of(cls, answers: Sequence[Answer]) -> Turn:
        """The sums."""
        spent = [answer.joules for answer in answers if answer.joules is not None]
        return cls(
            sum(answer.seconds for answer in answers),
            sum(answer.tokens for answer in answers),
            sum(answer.forwards for answer in answers),
            sum(spent) if len(spent) == len(answers) else None,
        )

    @property
    def speed(self) -> float:
        """Tokens a second."""
        return self.tokens / self.seconds


@dataclass(frozen=True)
class Measured:
    """What a contestant took; medians of all turns.

    Attributes:
        name: of the contestant.
        tokens_per_second: over all prompts.
        spread: the least and the greatest of them.
        tokens: of all prompts.
        forwards: runs of the model for them.
        milliseconds_per_forward: time over runs.
        joules_per_token: None where the machine does not tell.
        ratios: peer -> how many times as fast as that peer in the same turn: the median, the
            least, the greatest.
    """

    name: str
    tokens_per_second: float
    spread: tuple[float, float]
    tokens: int
    forwards: int
    milliseconds_per_forward: float
    joules_per_token: float | None
    ratios: dict[str, tuple[float, float, float]]

    def line(self) -> str:
        """For people; columns as in `head`."""
        joules = "-" if self.joules_per_token is None else f"{self.joules_per_token:.3f}"
        low, high = self.spread
        return (
            f"{self.name:<{_NAME}}{self.tokens_per_second:>9.2f}{f'{low:.2f}-{high:.2f}':>15}"
            f"{self.tokens:>7}{self.forwards:>9}{self.milliseconds_per_forward:>12.1f}{joules:>8}"
        ) + "".join(f"{f'{a:.2f} ({b:.2f}-{c:.2f})':>22}" for a, b, c in self.ratios.values())


def head(peers: Sequence[str]) -> str:
    """Names of the columns."""
    return (
        f"{'':<{_NAME}}{'tokens/s':>9}{'of all turns':>15}{'tokens':>7}{'forwards':>9}"
        f"{'ms/forward':>12}{'J/token':>8}"
    ) + "".join(f"{f'x {peer}':>22}" for peer in peers)


_NAME = 52
"""Width of the column of names: the longest cache with its options."""


def main() -> int:
    """Measure and print."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("bench_peers", "Ours beside what else decodes the same weights.")
    parser.add_argument("artifact", type=Path, metavar="ARTIFACT")
    parser.add_argument("--prompts", type=Path, required=True, help="a file, one in each line")
    parser.add_argument("--new-tokens", type=count, default=128, help="default: %(default)s")
    parser.add_argument("--block-length", type=count, default=32, help="default: %(default)s")
    parser.add_argument("--policy", default="dawn", help="of ours; default: %(default)s")
    parser.add_argument(
        "--cache", nargs="+", default=["none"], help="of ours, one after the other; default: none"
    )
    parser.add_argument("--threads", type=threads, default=2, help="default: %(default)s")
    parser.add_argument("--turns", type=count, default=3, help="default: %(default)s")
    torch = parser.add_argument_group("the published torch code of DAWN")
    torch.add_argument("--torch-code", type=Path, metavar="DIR", help="a clone of it")
    torch.add_argument("--torch-python", metavar="PYTHON", help="default: the one that runs this")
    torch.add_argument("--checkpoint", type=Path, metavar="DIR", help="what the artifact is of")
    llama = parser.add_argument_group("llama.cpp")
    llama.add_argument("--llama-tool", metavar="PATH", help="its llama-diffusion-cli")
    llama.add_argument("--gguf", type=Path, metavar="FILE", help="the checkpoint, converted")
    return parser


def _work(arguments: argparse.Namespace) -> None:
    manifest = read_manifest(arguments.artifact)
    _check(arguments, manifest)
    prompts = _lines(arguments.prompts)
    with Decoder.open(arguments.artifact, threads=arguments.threads) as decoder:
        ids = [_user(decoder, prompt, arguments.new_tokens) for prompt in prompts]
    meter = EnergyMeter()
    contestants = contestants_of(arguments, manifest, prompts, ids, meter)
    turns = _turns(contestants, arguments.turns)
    peers = [name for name in turns if name in (TORCH, LLAMA)]
    measured = [
        _measured(name, own, {peer: turns[peer] for peer in peers}) for name, own in turns.items()
    ]
    output = sys.stderr if arguments.json else sys.stdout
    print(head(peers), *(one.line() for one in measured), sep="\n", file=output)
    if arguments.json:
        said = {name: str(value) for name, value in vars(arguments).items() if value is not None}
        counted = list(meter.sources)
        print_json({"arguments": said, "energy": counted, "measured": list(map(asdict, measured))})


def _check(arguments: argparse.Namespace, manifest: Manifest) -> None:
    """Refuses what cannot be compared, before any of it is run."""
    family, new, block = manifest.family, arguments.new_tokens, arguments.block_length
    if (arguments.torch_code is None) != (arguments.checkpoint is None):
        raise OptionError("--torch-code and --checkpoint go together")
    if (arguments.llama_tool is None) != (arguments.gguf is None):
        raise OptionError("--llama-tool and --gguf go together")
    if arguments.torch_code is None and arguments.llama_tool is None:
        raise OptionError("there is no peer; give --torch-code or --llama-tool, or both")
    if family not in EVIDENCE_FROM:
        known = " and ".join(EVIDENCE_FROM)
        raise OptionError(f"{arguments.artifact}: the peers decode {known}; this is {family}")
    if new % block:
        raise OptionError(f"--new-tokens: got {new}, expected a multiple of {block}, the block")
    if arguments.torch_code is not None:
        _check_torch(arguments, manifest)
    for flag in ("checkpoint", "gguf"):
        place = getattr(arguments, flag)
        if place is not None and not place.exists():
            raise OptionError(f"--{flag}: {place} does not exist")
    tool = arguments.llama_tool
    if tool is not None and shutil.which(tool) is None:
        raise OptionError(
            f"--llama-tool: {tool} is no program; give the path of llama-diffusion-cli"
        )


def _check_torch(arguments: argparse.Namespace, manifest: Manifest) -> None:
    """Refuses what is no clone of DAWN's code, and what that code cannot decode."""
    family, code = manifest.family, arguments.torch_code
    if not (code / family / "model").is_dir():
        raise OptionError(f"--torch-code: {code} has no {family}/model; give a clone of DAWN")
    layers = manifest.dims.layers
    if layers <= EVIDENCE_FROM[family]:
        raise OptionError(
            f"{arguments.artifact}: has {layers} layers; DAWN's code reads the attention of those "
            f"from the {EVIDENCE_FROM[family] + 1}th on, so it decodes none that has fewer"
        )


def _lines(path: Path) -> list[str]:
    found = [line.strip() for line in path.read_text(encoding="utf-8").splitlines()]
    if not any(found):
        raise OptionError(f"--prompts: {path} has no line with a prompt")
    return [line for line in found if line]


def _user(decoder: Decoder, prompt: str, new_tokens: int) -> list[int]:
    """Ids of what a user says, as the chat template of the model has it."""
    said = [{"role": "user", "content": prompt}]
    return [int(i) for i in decoder.encode(said, max_new_tokens=new_tokens)]


def _turns(contestants: Sequence[Contestant], turns: int) -> dict[str, list[Turn]]:
    """What each took in each turn; who begins changes."""
    found: dict[str, list[Turn]] = {contestant.name: [] for contestant in contestants}
    for turn in range(turns):
        first = turn % len(contestants)
        for contestant in (*contestants[first:], *contestants[:first]):
            found[contestant.name].append(Turn.of(contestant.answer()))
    return found


def _measured(name: str, own: Sequence[Turn], peers: Mapping[str, Sequence[Turn]]) -> Measured:
    speeds = [turn.speed for turn in own]
    spent = [turn.joules / turn.tokens for turn in own if turn.joules is not None]
    return Measured(
        name=name,
        tokens_per_second=statistics.median(speeds),
        spread=(min(speeds), max(speeds)),
        tokens=int(statistics.median(turn.tokens for turn in own)),
        forwards=int(statistics.median(turn.forwards for turn in own)),
        milliseconds_per_forward=statistics.median(1e3 * t.seconds / t.forwards for t in own),
        joules_per_token=statistics.median(spent) if spent else None,
        ratios={peer: _ratios(own, turns) for peer, turns in peers.items()},
    )


def _ratios(own: Sequence[Turn], other: Sequence[Turn]) -> tuple[float, float, float]:
    """How many times as fast as another one: the median, the least, the greatest of all turns."""
    found = [mine.speed / turn.speed for mine, turn in zip(own, other, strict=True)]
    return statistics.median(found), min(found), max(found)


if __name__ == "__main__":
    sys.exit(main())
