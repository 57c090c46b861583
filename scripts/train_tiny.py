"""Train one of the small checkpoints shipped in models/: diffusion on exact tasks.

    python scripts/train_tiny.py tiny-dream --output models/tiny-dream
    python scripts/train_tiny.py tiny-llada --output models/tiny-llada
    python scripts/train_tiny.py tiny-dream --output build/more --from models/tiny-dream
    python scripts/train_tiny.py tiny-wedlm --output models/tiny-wedlm --from models/tiny-dream
    python scripts/train_tiny.py tiny-dream --output build/smoke --smoke

A run can be stopped at any time (SIGTERM lets it save its last step); the same command takes it up
again from its state under build/training. A GPU is used if there is one. Progress goes to standard
error, one line every `--log-every` steps; the last line on standard output is one JSON document.
"""

from __future__ import annotations

import argparse
import itertools
import json
import random
import statistics
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import nullcontext
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer
from torch.nn.attention import SDPBackend, sdpa_kernel

from dawn_calibration.tasks import TASKS
from dawn_models import ModelConfig, Transformer
from dawn_models.config import FULL
from tiny_training import drills
from tiny_training.batches import (
    Batch,
    Encoder,
    Example,
    batches_of_similar_length,
    masked_batch,
    mixed_items,
)
from tiny_training.hub_format import model_configs, write_tokenizer_files, write_weights
from tiny_training.objective import initialise, learning_rate_factor, optimisers, weighted_loss
from tiny_training.progress import StopRequest, load_state, save_state
from tiny_training.recipes import RECIPES
from tiny_training.start import Start, StartError
from tiny_training.streams import Streams, stream_batch
from tiny_training.vocabulary import train_tokenizer

REPOSITORY = Path(__file__).resolve().parent.parent
EARLY_SHARES = {"arithmetic": 2.0, "drill": 3.0, "sort": 1.5, "coupled-names": 1.5}
LATE_SHARES = {
    "arithmetic": 3.0,
    "drill": 2.0,
    "sort": 1.7,
    "brackets": 1.6,
    "coupled-names": 1.5,
    "reverse": 0.6,
    "coupled-code": 0.8,
    "coupled-record": 4.0,
    "coupled-calls": 2.5,
    "coupled-tables": 3.5,
    "coupled-story": 2.0,
    "coupled-sudoku": 3.0,
}
"""How often a task is drawn, 1 for those not named: in the second half of a run, and in all of one
that begins with a checkpoint, those that take long to learn more often."""
POOL = 16
"""Batches drawn together, to be split by length."""


@dataclass(frozen=True)
class Settings:
    """One training run.

    Attributes:
        steps: optimiser steps.
        examples: distinct examples a step; each is seen under two complementary masks.
        learning_rate: peak learning rate of both optimisers.
        seed: of weights, data and masks.
        vocab_size: tokens of the vocabulary, special tokens included.
        corpus: examples of which the vocabulary is learned.
    """

    steps: int = 15000
    examples: int = 16
    learning_rate: float = 1.2e-3
    seed: int = 0
    vocab_size: int = 1024
    corpus: int = 20000


SMOKE = Settings(steps=6, examples=4, vocab_size=448, corpus=400)


def main() -> int:
    """Train, write the checkpoint, print one JSON line."""
    arguments = _arguments()
    settings = SMOKE if arguments.smoke else _settings(arguments)
    torch.set_num_threads(arguments.threads)
    started = time.monotonic()
    final_loss = _train(arguments, settings)
    report = {
        "model": arguments.model,
        "output": str(arguments.output),
        "seconds": round(time.monotonic() - started, 1),
        "loss": final_loss,
        **asdict(settings),
    }
    print(json.dumps(report))
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model", choices=sorted(RECIPES))
    parser.add_argument("--output", type=Path, required=True, help="checkpoint folder to write")
    parser.add_argument("--steps", type=int, default=Settings.steps)
    parser.add_argument("--seed", type=int, default=Settings.seed)
    parser.add_argument("--learning-rate", type=_rate, default=Settings.learning_rate)
    parser.add_argument(
        "--from",
        dest="start",
        type=Path,
        metavar="CHECKPOINT",
        help="weights and vocabulary to begin with, the optimisers being new: those of the same "
        "model, or of another one with the same tensors; give the run a --state and a --seed of "
        "its own",
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--log-every", type=int, default=50, metavar="STEPS")
    parser.add_argument("--save-every", type=int, default=200, metavar="STEPS")
    parser.add_argument("--state", type=Path, help="state file to resume from and to write")
    parser.add_argument(
        "--share",
        action="append",
        default=[],
        type=_share,
        metavar="TASK=WEIGHT",
        help="how often a task is drawn in the second half, or in all of a run --from a "
        "checkpoint, relative to 1; may be repeated",
    )
    parser.add_argument("--smoke", action="store_true", help="a few small steps, to try the road")
    arguments = parser.parse_args()
    if arguments.start is not None:
        try:
            arguments.start = Start.open(arguments.start, RECIPES[arguments.model])
        except StartError as error:
            parser.error(f"--from {arguments.start}: {error}")
    if arguments.state is None:
        kind = "smoke" if arguments.smoke else "full"
        arguments.state = REPOSITORY / "build" / "training" / f"{arguments.model}-{kind}.pt"
    return arguments


def _rate(text: str) -> float:
    try:
        if 0 < float(text) < 1:
            return float(text)
    except ValueError:
        pass  # not a number: the same message
    raise argparse.ArgumentTypeError(f"got {text!r}, expected a number above 0 and below 1")


def _settings(arguments: argparse.Namespace) -> Settings:
    return Settings(
        steps=arguments.steps, seed=arguments.seed, learning_rate=arguments.learning_rate
    )


def _train(arguments: argparse.Namespace, settings: Settings) -> float | None:
    recipe = RECIPES[arguments.model]
    tokenizer = _tokenizer(arguments, settings)
    write_tokenizer_files(arguments.output, recipe, tokenizer)
    formats = model_configs(recipe, tokenizer)
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    model = _first_model(arguments, formats[0], settings).to(device)
    optimiser_list = optimisers(model, settings.learning_rate)
    step = 0
    if arguments.state.exists():
        step = load_state(arguments.state, model, optimiser_list)
        print(f"resumed at step {step} from {arguments.state}", file=sys.stderr)
    loss = None  # a run that was complete already takes no step
    log = Log(arguments.log_every, settings.steps)
    encoder = Encoder(recipe, tokenizer)
    late_shares = LATE_SHARES | dict(arguments.share)
    early_shares = EARLY_SHARES if arguments.start is None else late_shares
    batches = _batches(encoder, formats, settings, (early_shares, late_shares), step)
    stop = StopRequest()
    for batch in itertools.islice(batches, settings.steps - step):
        loss = _step(model, batch.to(device), optimiser_list, step, settings)
        step += 1
        log.add(step, loss, batch)
        if step % arguments.save_every == 0 or step == settings.steps or stop.asked:
            save_state(arguments.state, step, model, optimiser_list)
            write_weights(arguments.output, model)
        if stop.asked:
            print(f"stopped at step {step}; the same command goes on", file=sys.stderr)
            break
    return loss


def _first_model(
    arguments: argparse.Namespace, config: ModelConfig, settings: Settings
) -> Transformer:
    if arguments.start is not None:
        begun: Transformer = arguments.start.model(config)
        return begun
    model = Transformer(config)
    initialise(model, settings.seed)
    return model


def _share(text: str) -> tuple[str, float]:
    name, _, weight = text.partition("=")
    names = [*TASKS, drills.NAME]
    try:
        if name in names and float(weight) >= 0:
            return name, float(weight)
    except ValueError:
        pass  # not a number: the same message
    known = ", ".join(names)
    raise argparse.ArgumentTypeError(f"got {text!r}, expected TASK=WEIGHT, TASK one of {known}")


def _tokenizer(arguments: argparse.Namespace, settings: Settings) -> Tokenizer:
    """Learn the vocabulary once; a resumed run keeps the one it began with."""
    if arguments.start is not None:
        begun: Tokenizer = arguments.start.tokenizer
        return begun
    path = arguments.state.with_suffix(".tokenizer.json")
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        corpus = itertools.islice(mixed_items({}, "train", settings.seed), settings.corpus)
        texts = (text for item in corpus for text in (item.prompt, item.answer))
        recipe = RECIPES[arguments.model]
        train_tokenizer(texts, recipe, settings.vocab_size).save(str(path))
    return Tokenizer.from_file(str(path))


def _batches(
    encoder: Encoder,
    formats: tuple[ModelConfig, ...],
    settings: Settings,
    halves: tuple[Mapping[str, float], ...],
    first: int,
) -> Iterator[Batch]:
    """Batches `first`, first + 1, ...: a resumed run continues with data it has not seen.

    Tasks are drawn in the shares `halves` of the first and of the second half of the run; formats
    take turns.
    """
    for pool in itertools.count(first // POOL):
        seed = settings.seed * 1_000_003 + pool
        shares = halves[2 * pool * POOL >= settings.steps]
        drawn = itertools.islice(mixed_items(shares, "train", seed), POOL * settings.examples)
        rng = random.Random(seed)
        batches = batches_of_similar_length(encoder.encode(list(drawn)), settings.examples, rng)
        for number, batch in enumerate(batches, start=pool * POOL):
            if number >= first:  # a generator of its own: a resumed run draws the same masks
                masks = random.Random(f"masks {settings.seed} {number}")
                yield _batch(batch, encoder, formats[number % len(formats)], masks)


def _batch(
    examples: list[Example], encoder: Encoder, config: ModelConfig, rng: random.Random
) -> Batch:
    """What a family learns from some examples."""
    if config.attention.kind == FULL:
        return masked_batch(examples, encoder, config.shift, rng)
    streams = Streams(config.attention, config.shift, config.mask_token_id, encoder.pad)
    return stream_batch(examples, encoder, streams, rng)


def _step(
    model: Transformer,
    batch: Batch,
    optimiser_list: list[torch.optim.Optimizer],
    step: int,
    settings: Settings,
) -> float:
    rate = settings.learning_rate * learning_rate_factor(step, settings.steps)
    # On a CPU the plain attention of torch is half as fast again as its flash backward.
    on_cpu = batch.inputs.device.type == "cpu"
    attention = sdpa_kernel(SDPBackend.MATH) if on_cpu else nullcontext()
    with attention, torch.autocast(batch.inputs.device.type, dtype=torch.bfloat16):
        loss = weighted_loss(model, batch)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
    for optimiser in optimiser_list:
        for group in optimiser.param_groups:
            group["lr"] = rate
        optimiser.step()
        optimiser.zero_grad(set_to_none=True)
    return loss.item()


class Log:
    """Mean loss and speed since the last line, on standard error."""

    def __init__(self, every: int, steps: int) -> None:
        self.every, self.steps = every, steps
        self._restart()

    def add(self, step: int, loss: float, batch: Batch) -> None:
        """Count one step; print a line every `every` steps and after the last."""
        self.losses.append(loss)
        self.tokens += batch.inputs.numel()
        if step % self.every == 0 or step == self.steps:
            rate = self.tokens / (time.monotonic() - self.started)
            mean = statistics.mean(self.losses)
            line = f"step {step}/{self.steps}  loss {mean:.4f}  {rate:.0f} tokens/s"
            print(line, file=sys.stderr, flush=True)
            self._restart()

    def _restart(self) -> None:
        self.losses: list[float] = []
        self.tokens = 0
        self.started = time.monotonic()


if __name__ == "__main__":
    sys.exit(main())
