"""Plans: engines that TensorRT built for one machine, beside the graph they were built from.

An artifact folder may hold, besides the files that its manifest lists,

    <name>.engine         a plan
    <name>.engine.json    what it was built from, on and for, with its size and SHA-256
    <name>.layers.json    what TensorRT made of the graph, for people
    trtexec.txt           the commands that build one without this toolkit
    timing.cache          measured times of kernels, which make the next build shorter
    .<name>...partial     one of these that a killed build did not finish

None of them is listed in the manifest: they come after it and belong to a machine, not to the
model. A plan without its JSON is not used; the JSON is written last. A plan is keyed by everything
that decides whether it can run; where the key differs, one line says so and how to build anew.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final

from dawn_runtime._fields import Fields, read_text
from dawn_runtime.artifact import HASH_LIMIT_BYTES, difference, inside
from dawn_runtime.engine.tensorrt.module import TensorRT, release
from dawn_runtime.engine.tensorrt.profiles import Profile, profiles_hash
from dawn_runtime.errors import ArtifactError, EngineError
from dawn_runtime.files import PARTIAL_SUFFIX
from dawn_runtime.manifest import STEP, FileEntry, Manifest

PLAN_SUFFIX: Final = ".engine"
RECORD_SUFFIX: Final = ".engine.json"
LAYERS_SUFFIX: Final = ".layers.json"
TIMING_CACHE: Final = "timing.cache"
COMMANDS_FILE: Final = "trtexec.txt"
RECORD_VERSION: Final = 1
MAX_RECORD_BYTES: Final = 4 * 2**20
"""Largest record; one of five profiles has 4 KiB."""

NO_DRIVER: Final = 0
"""CUDA version in the key of a plan built without a GPU; it is not compared."""


@dataclass(frozen=True, slots=True)
class Machine:
    """What runs plans here.

    Attributes:
        product: `tensorrt` or `tensorrt_rtx`.
        version: Its full version.
        capability: Compute capability of the GPU, such as (8, 7).
        cuda: Major version of CUDA that the driver runs.
    """

    product: str
    version: str
    capability: tuple[int, int]
    cuda: int

    @classmethod
    def of(cls, trt: TensorRT, capability: tuple[int, int], cuda: int) -> "Machine":
        """Describes a machine with this TensorRT, GPU and driver."""
        return cls(trt.product, trt.version, capability, cuda)


@dataclass(frozen=True, slots=True)
class PlanKey:
    """Everything that decides whether a plan can run, and what it computes.

    Attributes:
        weights: SHA-256 of the weights.
        graph: SHA-256 of the graph.
        precision: Precision of the artifact.
        product: `tensorrt` or `tensorrt_rtx`.
        version: Its full version.
        sm: Compute capability it was built for, such as `8.7`.
        cuda: Major version of CUDA that the driver ran; `NO_DRIVER` where there was none.
        profiles: SHA-256 of its profiles.
    """

    weights: str
    graph: str
    precision: str
    product: str
    version: str
    sm: str
    cuda: int
    profiles: str

    @classmethod
    def of(cls, manifest: Manifest, machine: Machine, profiles: tuple[Profile, ...]) -> "PlanKey":
        """Returns the key of a plan for a machine; an artifact lists its graph and weights."""
        return cls(
            weights=manifest.files[manifest.step.data].sha256,
            graph=manifest.files[manifest.step.file].sha256,
            precision=manifest.precision,
            product=machine.product,
            version=machine.version,
            sm=".".join(map(str, machine.capability)),
            cuda=machine.cuda,
            profiles=profiles_hash(profiles),
        )

    @classmethod
    def read(cls, fields: Fields) -> "PlanKey":
        """Reads the key; raises `ArtifactError` at a wrong field."""
        fields.only(*cls.__dataclass_fields__)
        texts = {name: fields.text(name) for name in cls.__dataclass_fields__ if name != "cuda"}
        return cls(cuda=fields.integer("cuda"), **texts)


@dataclass(frozen=True, slots=True)
class PlanRecord:
    """Content of `<name>.engine.json`.

    Attributes:
        name: File name of the plan.
        file: Its size and hash.
        key: What it was built from and for.
        profiles: Its optimisation profiles, in order.
        block_length: Tokens in a block; numbers of rows are rounded up to multiples of it.
        logits: Whether it returns logits.
        version_compatible: Whether newer releases of TensorRT, and the lean runtime, can load it.
        stripped: Whether its weights are put in when it is loaded.
    """

    name: str
    file: FileEntry
    key: PlanKey
    profiles: tuple[Profile, ...]
    block_length: int
    logits: bool
    version_compatible: bool
    stripped: bool

    def to_json(self) -> str:
        """Returns the text of the file."""
        document = {
            "record_version": RECORD_VERSION,
            **{name: getattr(self, name) for name in _PLAIN},
            "file": asdict(self.file),
            "key": asdict(self.key),
            "profiles": [profile.to_dict() for profile in self.profiles],
        }
        return json.dumps(document, indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str, source: str) -> "PlanRecord":
        """Reads the text of the file.

        Raises:
            ArtifactError: It is not a record that this version reads.
        """
        root = Fields.parse(text, source)
        if root.integer("record_version") != RECORD_VERSION:
            raise ArtifactError(
                f"{source}: another version of dawn-edge wrote it; {rebuild_hint(source)}"
            )
        root.only("record_version", "file", "key", "profiles", *_PLAIN)
        return cls(
            name=root.text("name"),
            file=FileEntry.read(root.nested("file")),
            key=PlanKey.read(root.nested("key")),
            profiles=tuple(Profile.read(entry) for entry in root.objects("profiles")),
            block_length=root.integer("block_length", minimum=1),
            logits=root.flag("logits"),
            version_compatible=root.flag("version_compatible"),
            stripped=root.flag("stripped"),
        )

    def mismatch(self, manifest: Manifest, machine: Machine) -> str | None:
        """Says in half a sentence why the plan cannot run, None if it can."""
        here = PlanKey.of(manifest, machine, self.profiles)
        for name, words in _WORDS.items():
            built, found = getattr(self.key, name), getattr(here, name)
            if built != found and not self._is_excused(name, built, found):
                return words.format(built=built, here=found)
        return None

    def _is_excused(self, name: str, built: object, found: object) -> bool:
        """A lean runtime in the plan serves newer releases; a build without a driver, any CUDA."""
        if name == "version":
            return self.version_compatible and release(str(found)) >= release(str(built))
        return name == "cuda" and built == NO_DRIVER

    def check_file(self, folder: Path, hash_limit: int | None = HASH_LIMIT_BYTES) -> Path:
        """Compares the plan with its record and returns its path.

        Args:
            folder: Of the artifact.
            hash_limit: Largest size in bytes that is hashed; None hashes any plan.

        Raises:
            EngineError: The plan is missing, truncated or altered, or lies elsewhere.
        """
        try:
            path = inside(folder, self.name, "the plan's record")
        except ArtifactError as error:
            raise EngineError(str(error)) from error
        state = difference(path, self.file, hash_limit)
        if state is not None:
            raise EngineError(f"{path}: the plan {state}; {rebuild_hint(folder)}")
        return path


_PLAIN = ("name", "block_length", "logits", "version_compatible", "stripped")

_WORDS: Mapping[str, str] = {
    "product": "was built by {built}, this machine has {here}",
    "version": "was built by version {built}, this machine has {here}",
    "sm": "was built for a GPU of compute capability {built}, this one has {here}",
    "cuda": "was built with CUDA {built}, this machine has {here}",
    "weights": "was built from other weights than those of this artifact",
    "graph": "was built from another graph than that of this artifact",
    "precision": "was built at {built}, the artifact is {here}",
}
"""Field of the key -> what a difference means; the plan's own profiles never differ."""


def unmeasured(manifest: Manifest) -> Manifest:
    """Returns the manifest of a graph without entropy and margin, which no plan has."""
    step = replace(manifest.step, measures=False)
    return replace(manifest, graphs={**manifest.graphs, STEP: step})


def rebuild_hint(folder: Path | str) -> str:
    """Returns what to do about a plan that cannot be used."""
    return f"build it again: dawn-export --target tensorrt --artifact {folder}"


def read_plans(folder: Path) -> tuple[PlanRecord, ...]:
    """Returns the records of all plans of an artifact folder, by name.

    Raises:
        ArtifactError: A record is malformed.
    """
    return tuple(map(read_record, record_files(folder)))


def record_files(folder: Path) -> list[Path]:
    """Returns the records of all plans of an artifact folder, unread."""
    return sorted(folder.glob(f"*{RECORD_SUFFIX}"))


def read_record(path: Path) -> PlanRecord:
    """Reads the record of one plan.

    Raises:
        ArtifactError: It cannot be read or is malformed.
    """
    text = read_text(inside(path.parent, path.name, "the folder"), MAX_RECORD_BYTES)
    return PlanRecord.from_json(text, str(path))


def choose_plan(folder: Path, manifest: Manifest, machine: Machine) -> PlanRecord:
    """Returns the plan for a machine; of several the one for the longest sequences.

    Raises:
        ArtifactError: A record is malformed.
        EngineError: There is none, or none can run here.
    """
    records = read_plans(folder)
    if not records:
        raise EngineError(
            f"{folder}: holds no TensorRT plan; build one: "
            f"dawn-export --target tensorrt --artifact {folder}"
        )
    reasons = {record.name: record.mismatch(manifest, machine) for record in records}
    fitting = [record for record in records if reasons[record.name] is None]
    if not fitting:
        first = records[0].name
        more = f" (and {len(records) - 1} more do not fit)" if len(records) > 1 else ""
        raise EngineError(f"{folder / first}: {reasons[first]}{more}; {rebuild_hint(folder)}")
    return max(fitting, key=lambda record: max(p.ranges["S"][2] for p in record.profiles))


def without_plan(folder: Path) -> bool:
    """Returns whether an artifact was made for TensorRT, by its commands, and has no plan yet."""
    return (folder / COMMANDS_FILE).exists() and not any(folder.glob(f"*{RECORD_SUFFIX}"))


def plan_files(folder: Path) -> set[str]:
    """Returns the names of all files of a folder that building plans leaves there."""
    suffixes = (PLAN_SUFFIX, RECORD_SUFFIX, LAYERS_SUFFIX)
    whole = (*(f"*{suffix}" for suffix in suffixes), TIMING_CACHE, COMMANDS_FILE)
    patterns = (*whole, f".*{PARTIAL_SUFFIX}")
    return {path.name for pattern in patterns for path in folder.glob(pattern)}
