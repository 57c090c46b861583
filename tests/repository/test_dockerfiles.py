"""Dockerfiles keep to rules that a reader would look for, since none of them is built here."""

import json
import re
import shlex
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FILES = sorted((ROOT / "docker").glob("*Dockerfile"))
PROJECT = (ROOT / "pyproject.toml").read_text(encoding="utf-8")

KNOWN = {
    *("ARG", "FROM", "RUN", "CMD", "LABEL", "EXPOSE", "ENV", "COPY", "ENTRYPOINT", "VOLUME"),
    *("USER", "WORKDIR", "STOPSIGNAL", "HEALTHCHECK", "SHELL", "ADD"),
}


@dataclass(frozen=True)
class Instruction:
    """One instruction, its lines joined."""

    name: str
    rest: str


def instructions(text: str) -> list[Instruction]:
    """Reads a Dockerfile: comments and empty lines fall out, lines that end in \\ go on."""
    lines = (line for line in text.splitlines() if not line.lstrip().startswith("#"))
    joined = re.sub(r"\\\n\s*", " ", "\n".join(lines))
    parts = (line.strip().partition(" ") for line in joined.splitlines() if line.strip())
    return [Instruction(name, rest.strip()) for name, _, rest in parts]


def section(name: str) -> str:
    """The text of a table of pyproject.toml."""
    found = re.search(
        rf"^\[{re.escape(name)}\]\n(.*?)(?=^\[|\Z)", PROJECT, re.MULTILINE | re.DOTALL
    )
    assert found
    return found[1]


EXTRAS = set(re.findall(r"^([\w-]+) = \[", section("project.optional-dependencies"), re.MULTILINE))
COMMANDS = set(re.findall(r"^([\w-]+) = ", section("project.scripts"), re.MULTILINE))
PACKAGES = re.findall(r'"([\w/]+)"', section("tool.hatch.build.targets.wheel"))


def of(found: list[Instruction], *names: str) -> list[str]:
    return [one.rest for one in found if one.name in names]


def faults(text: str) -> Iterator[str]:
    """Says what a reader would object to."""
    found = instructions(text)
    yield from (f"unknown instruction {one.name}" for one in found if one.name not in KNOWN)
    yield from _faults_of_bases(found)
    yield from _faults_of_files(found)
    for command in of(found, "RUN"):
        yield from _faults_of_run(command)
    yield from _faults_of_start(found)


def _faults_of_bases(found: list[Instruction]) -> Iterator[str]:
    names = [one.name for one in found]
    before = found[: names.index("FROM")]
    if any(one.name != "ARG" for one in before):
        yield "something stands before FROM"
    defaults = dict(re.findall(r"(\w+)=(\S+)", " ".join(of(before, "ARG"))))
    for base in of(found, "FROM"):
        image = re.sub(r"\$\{?(\w+)\}?", lambda match: defaults.get(match[1], ""), base).split()[0]
        if not re.fullmatch(r"[\w./-]+:[\w.-]+", image) or image.endswith(":latest"):
            yield f"base {base} has no tag that stays"
    known = set(
        re.findall(r"\b\w+\b(?==)|^\w+$", "\n".join(of(found[len(before) :], "ARG", "ENV")))
    )
    used = re.findall(r"\$\{?([A-Z_]+)\}?", " ".join(of(found, "RUN", "COPY", "WORKDIR", "USER")))
    arguments = {name for one in of(found[len(before) :], "ARG") for name in [one.split("=")[0]]}
    yield from (f"{name} is not declared" for name in used if name not in known | arguments)


def _faults_of_files(found: list[Instruction]) -> Iterator[str]:
    if of(found, "ADD"):
        yield "ADD unpacks and downloads; use COPY"
    copied = []
    for rest in of(found, "COPY"):
        *sources, _ = rest.split()
        copied += sources
        yield from (f"{name} is not there" for name in sources if not (ROOT / name).exists())
    installed = any("pip install" in command for command in of(found, "RUN"))
    for package in PACKAGES if installed else []:
        if not any(package == name or package.startswith(f"{name}/") for name in copied):
            yield f"{package} is not copied, and the wheel has it"
    yield from (f"WORKDIR {one} is relative" for one in of(found, "WORKDIR") if one[0] != "/")


def _faults_of_run(command: str) -> Iterator[str]:
    if "apt-get install" in command:
        for needed in ("apt-get update", "-y", "--no-install-recommends", "/var/lib/apt/lists"):
            if needed not in command:
                yield f"apt-get install without {needed}"
    if "pip install" in command:
        if "--no-cache-dir" not in command:
            yield "pip keeps its cache"
        for extras in re.findall(r"\.\[([^\]]+)\]", command):
            for extra in re.sub(r"\$\{?\w+\}?,?", "", extras).strip(",").split(","):
                if extra and extra not in EXTRAS:
                    yield f"there is no extra {extra}"
    if re.search(r"\bsudo\b|curl [^|]*\|\s*(?:ba)?sh", command):
        yield "sudo, or a script from somewhere"


def _faults_of_start(found: list[Instruction]) -> Iterator[str]:
    starts = of(found, "CMD", "ENTRYPOINT")
    if not starts:
        yield "nothing is started"
    for start in starts:
        try:
            program = json.loads(start)[0]
        except ValueError:
            yield f"a shell would stand between signals and {start}"
            continue
        if program not in COMMANDS:
            yield f"{program} is not installed"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_dockerfile_has_no_fault(file: Path) -> None:
    assert list(faults(file.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_the_commands_in_its_head_name_it_and_what_is_there(file: Path) -> None:
    lines = [line.lstrip("# ") for line in file.read_text(encoding="utf-8").splitlines()]
    builds = [shlex.split(line) for line in lines if line.startswith("docker build -f")]
    assert builds
    assert all(words[words.index("-f") + 1] == f"docker/{file.name}" for words in builds)
    extras = re.findall(r"EXTRA=([\w-]+)", "\n".join(lines))
    assert set(extras) <= EXTRAS


def test_the_image_of_jetpack_takes_the_extra_of_jetpack() -> None:
    text = (ROOT / "docker" / "jetpack.Dockerfile").read_text(encoding="utf-8")
    assert ".[jetson6]" in text
    (extra,) = re.findall(r"^jetson6 = \[(.*)\]", PROJECT, re.MULTILINE)
    assert '"nvidia-cuda-nvrtc-cu12>=12.6,<12.7"' in extra, "NVRTC of the driver's very CUDA"
    assert "onnxruntime-gpu" not in extra, "there is none for it"


SOUND = FILES[0].parent / "jetpack.Dockerfile"
CHANGES: dict[str, Callable[[str], str]] = {
    "unknown instruction INSTALL": lambda text: f"{text}\nINSTALL all\n",
    "something stands before FROM": lambda text: f"RUN true\n{text}",
    "has no tag that stays": lambda text: text.replace(":r10.3.0-devel", ":latest"),
    "MODE is not declared": lambda text: text.replace("RUN python3", "RUN ${MODE} python3"),
    "ADD unpacks and downloads; use COPY": lambda text: f"{text}\nADD x /x\n",
    "absent is not there": lambda text: text.replace("COPY export", "COPY absent"),
    "serve/dawn_serve is not copied": lambda text: text.replace("COPY serve serve\n", ""),
    "is relative": lambda text: text.replace("WORKDIR /data", "WORKDIR data"),
    "apt-get install without -y": lambda text: text.replace("install -y ", "install "),
    "without /var/lib/apt/lists": lambda text: re.sub(r"&& rm -rf \S+", "&& true", text),
    "pip keeps its cache": lambda text: text.replace("--no-cache-dir ", ""),
    "there is no extra jetson5": lambda text: text.replace(".[jetson6]", ".[jetson5]"),
    "sudo, or a script": lambda text: text.replace("apt-get update", "sudo apt-get update"),
    "a shell would stand between": lambda text: text.replace('["dawn-doctor"]', "dawn-doctor"),
    "dawn-fly is not installed": lambda text: text.replace("dawn-doctor", "dawn-fly"),
    "nothing is started": lambda text: text.replace('CMD ["dawn-doctor"]', ""),
}


@pytest.mark.parametrize("fault", CHANGES)
def test_every_rule_finds_what_it_is_for(fault: str) -> None:
    spoilt = CHANGES[fault](SOUND.read_text(encoding="utf-8"))
    assert any(fault in line for line in faults(spoilt)), list(faults(spoilt))
