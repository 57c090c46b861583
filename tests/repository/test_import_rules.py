"""Who may import whom: the walls between the four packages, and what a device never loads."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = {
    "dawn_runtime": ROOT / "runtime" / "dawn_runtime",
    "dawn_models": ROOT / "models" / "dawn_models",
    "dawn_export": ROOT / "export" / "dawn_export",
    "dawn_calibration": ROOT / "calibration" / "dawn_calibration",
}
MAY_IMPORT = {
    "dawn_runtime": set(),
    "dawn_models": set(),
    "dawn_export": {"dawn_models", "dawn_runtime"},
    "dawn_calibration": {"dawn_export", "dawn_runtime", "dawn_models"},
}
NEVER_ON_A_DEVICE = {
    *("torch", "onnx", "onnx_ir", "onnxscript", "safetensors", "transformers", "huggingface_hub"),
}
LAZY_ON_A_DEVICE = {"tokenizers", "jinja2", "onnxruntime", "cuda", "tensorrt"}


def imports(tree: ast.AST) -> Iterator[str]:
    """Top-level names of everything that is imported below a node."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            yield node.module.split(".")[0]


def modules(package: str) -> list[Path]:
    found = sorted(PACKAGES[package].rglob("*.py"))
    assert found
    return found


def parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


@pytest.mark.parametrize("package", PACKAGES)
def test_a_package_imports_only_the_packages_below_it(package: str) -> None:
    allowed = MAY_IMPORT[package] | {package}
    for path in modules(package):
        ours = {name for name in imports(parsed(path)) if name in PACKAGES}
        assert ours <= allowed, f"{path} imports {sorted(ours - allowed)}"


def test_the_runtime_never_imports_what_a_device_lacks() -> None:
    for path in modules("dawn_runtime"):
        assert not NEVER_ON_A_DEVICE & set(imports(parsed(path))), path


def test_the_runtime_imports_its_optional_packages_where_they_are_used() -> None:
    for path in modules("dawn_runtime"):
        at_import = [n for n in parsed(path).body if isinstance(n, ast.Import | ast.ImportFrom)]
        names = {name for node in at_import for name in imports(node)}
        assert not LAZY_ON_A_DEVICE & names, path
