"""What is asked while answers are timed.

Rules that adapt decide by what stands there: noise ends, agrees and couples as no text does. So
prompts are real unless random tokens are asked for, and results say which they were.
"""

import hashlib
import importlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from dawn_runtime.arrays import IntArray
from dawn_runtime.artifact import Artifact
from dawn_runtime.companions import open_companions
from dawn_runtime.errors import OptionError, PromptError
from dawn_runtime.manifest import Manifest
from dawn_runtime.native import importing
from dawn_runtime.prompt_files import read_prompts
from dawn_runtime.prompts import Filling, Prompt, PromptReader, located

SHIPPED: Final = Path(__file__).with_name("prompts.jsonl")
RANDOM: Final = "random tokens"


@dataclass(frozen=True, slots=True, eq=False)
class Prompts:
    """Prompts as they are decoded.

    Attributes:
        source: `shipped`, `file`, `tasks` or `random tokens`.
        name: Of the file or of the tasks; empty otherwise.
        ids: int64 [P] each, at least one.
    """

    source: str
    name: str
    ids: tuple[IntArray, ...]

    @property
    def is_random(self) -> bool:
        """Whether they are noise, whose answers nobody reads."""
        return self.source == RANDOM

    @property
    def sha256(self) -> str:
        """Hash of all ids in their order, 64 hex digits."""
        digest = hashlib.sha256()
        for ids in self.ids:
            digest.update(np.asarray(ids, dtype="<i8").tobytes() + b"\n")
        return digest.hexdigest()

    def to_dict(self) -> dict[str, Any]:
        """Returns all but the ids for JSON."""
        lengths = sorted(len(ids) for ids in self.ids)
        return {
            "source": self.source,
            "name": self.name,
            "count": len(self.ids),
            "tokens": [lengths[0], lengths[len(lengths) // 2], lengths[-1]],
            "sha256": self.sha256,
        }


def shipped_prompts(folder: Path) -> Prompts:
    """Returns eight short prompts that come with the package, in the artifact's chat template.

    Args:
        folder: The artifact; one without a template gets them as they are.

    Raises:
        PromptError: It has no tokenizer.
    """
    reader = _reader(folder)
    texts = [line.prompt for line in read_prompts(SHIPPED) if isinstance(line.prompt, str)]
    asked: list[Prompt] = list(texts)
    if reader.chat is not None:
        asked = [[{"role": "user", "content": text}] for text in texts]
    return Prompts("shipped", "", _read(reader, asked, "prompts that are shipped"))


def prompts_of_file(folder: Path, path: Path) -> Prompts:
    """Reads a file as `dawn-generate --input` does; templates, which have no length, are refused.

    Args:
        folder: The artifact.
        path: JSON Lines.

    Raises:
        PromptError: The file cannot be read, a line is malformed or a template, or this artifact
            cannot decode it.
    """
    reader, found = _reader(folder), list[IntArray]()
    for line in read_prompts(path):
        where = f"{path} line {line.number}"
        if isinstance(line.prompt, Filling):
            raise PromptError(f"{where}: is a template; give prompts, messages or input_ids")
        with located(f"{where}: "):
            found.append(reader.read(line.prompt))
    return Prompts("file", path.name, tuple(found))


def prompts_of_tasks(folder: Path, names: Sequence[str] | None, items: int, seed: int) -> Prompts:
    """Returns held-out items of the tasks that `dawn-calibrate` knows.

    Args:
        folder: The artifact.
        names: Of the tasks; None is all.
        items: Of each.
        seed: Another seed draws others.

    Raises:
        DependencyError: dawn_calibration is not installed.
        OptionError: There is no such task.
        PromptError: This artifact cannot decode them.
    """
    # By its name: the runtime stands alone on a device, and needs none of what is built on it.
    with importing("--tasks needs", "dawn_calibration", "install the whole dawn-edge"):
        tasks = importlib.import_module("dawn_calibration.tasks")
        source = importlib.import_module("dawn_calibration.prompts")
    chosen = list(tasks.TASKS) if names is None else list(names)
    asked = [one.prompt for one in source.questions_of_tasks(chosen, items, "heldout", seed)]
    return Prompts("tasks", ",".join(chosen), _read(_reader(folder), asked, "tasks"))


def random_prompts(manifest: Manifest, rows: int, length: int) -> Prompts:
    """Returns tokens of the vocabulary without the special ones, the same at every call.

    Args:
        manifest: Of the artifact.
        rows: How many prompts.
        length: Tokens of each.
    """
    ordinary = np.setdiff1d(np.arange(manifest.dims.vocab_size), manifest.tokens.all)
    drawn = np.random.default_rng(0).choice(ordinary, size=(rows, length))
    return Prompts(RANDOM, "", tuple(drawn))


def check_room(prompts: Prompts, manifest: Manifest, new_tokens: int | None) -> None:
    """Refuses prompts that leave no room for the answer.

    Args:
        prompts: All of them.
        manifest: Of the artifact.
        new_tokens: Tokens of the answer; None is the artifact's own number.

    Raises:
        PromptError: One of them does.
    """
    reader = PromptReader(manifest, None, None)
    for number, ids in enumerate(prompts.ids, start=1):
        with located(f"prompt {number} of {len(prompts.ids)}: "):
            reader.new_tokens(ids, new_tokens, manifest.decoding.max_new_tokens)


def _reader(folder: Path) -> PromptReader:
    artifact = Artifact.open(folder, verify="sizes")  # hashed when an engine opens it
    return PromptReader(artifact.manifest, *open_companions(artifact))


def _read(reader: PromptReader, asked: Iterable[Prompt], what: str) -> tuple[IntArray, ...]:
    if reader.tokenizer is None:
        raise OptionError(
            f"{what} are texts, and this artifact has no tokenizer; give --input with input_ids, "
            "or --random"
        )
    return tuple(reader.read(prompt) for prompt in asked)
