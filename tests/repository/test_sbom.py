"""scripts/sbom.sh lists what a device gets: the pinned versions and nothing of what lists them."""

import json
import shutil
import subprocess
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parent.parent.parent
PARTS = (
    "pyproject.toml",
    "constraints.txt",
    "README.md",
    "LICENSE",
    "hatch_build.py",
    "scripts",
    "export",
)
PACKAGES = ("runtime", "calibration", "models", "serve")


def test_a_bill_of_materials_lists_what_is_pinned(tmp_path: Path) -> None:
    for name in (*PARTS, *PACKAGES):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy
        copy(ROOT / name, tmp_path / name)
    command = ["bash", "scripts/sbom.sh"]
    finished = subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True)
    assert finished.stdout == "build/sbom-cpu.json\n"
    document = json.loads((tmp_path / "build" / "sbom-cpu.json").read_text())
    assert document["metadata"]["component"]["name"] == "dawn-edge"
    found = {canonicalize_name(one["name"]): one["version"] for one in document["components"]}
    assert {"numpy", "tokenizers", "jinja2", "onnxruntime"} <= set(found)
    assert not {"torch", "cyclonedx-bom"} & set(found)
    pinned = map(Requirement, pin_lines(ROOT / "constraints.txt"))
    for pin in pinned:
        name = canonicalize_name(pin.name)
        if name in found and (pin.marker is None or pin.marker.evaluate()):
            assert pin.specifier.contains(found[name]), name


def pin_lines(path: Path) -> list[str]:
    """Lines that are no comments."""
    text = path.read_text(encoding="utf-8")
    return [line for line in text.splitlines() if line and not line.startswith("#")]
