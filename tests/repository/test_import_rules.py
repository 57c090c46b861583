"""Who may import whom: walls between packages, floors inside them, what a device never loads."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PACKAGES = {
    "dawn_runtime": ROOT / "runtime" / "dawn_runtime",
    "dawn_models": ROOT / "models" / "dawn_models",
    "dawn_export": ROOT / "export" / "dawn_export",
    "dawn_calibration": ROOT / "calibration" / "dawn_calibration",
    "dawn_serve": ROOT / "serve" / "dawn_serve",
    "dawn_eval": ROOT / "eval" / "dawn_eval",
}
MAY_IMPORT = {
    "dawn_runtime": set(),
    "dawn_models": set(),
    "dawn_export": {"dawn_models", "dawn_runtime"},
    "dawn_calibration": {"dawn_export", "dawn_runtime", "dawn_models"},
    "dawn_serve": {"dawn_runtime"},
    "dawn_eval": {"dawn_runtime", "dawn_serve"},
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


GROUND = "ground"
"""The modules at the top of a package that need none of its rooms; see `room_of`."""

FLOORS: Mapping[str, Mapping[str, set[str]]] = {
    "dawn_runtime": {
        GROUND: set(),
        "machine": set(),
        "policies": set(),
        "engine_info": {"machine"},
        "cuda": {"engine_info", "machine", "policies"},
        "engine": {"cuda", "engine_info", "machine"},
        "decoding": {"cuda", "engine", "engine_info", "policies"},
        "doctor": {"cuda", "decoder", "decoding", "engine", "machine", "policies"},
        "decoder": {"decoding", "engine", "machine", "policies"},
        "jobs": {"decoder"},
        "bench": {"decoder", "machine"},
        "traces": {"decoder", "decoding"},
        "cli": {
            *("bench", "decoder", "decoding", "doctor", "engine", "jobs", "machine", "policies"),
            "traces",
        },
    },
    "dawn_models": {
        GROUND: set(),
        "families": set(),
        "checkpoint": {"families"},
        "auto": {"checkpoint", "families"},
    },
    "dawn_export": {
        GROUND: set(),
        "quantization": set(),
        "folder": set(),
        "text": set(),
        "genai": set(),
        "sources": {"folder"},
        "options": {"quantization"},
        "publishing": {"options", "quantization", "sources", "text"},
        "weights": {"quantization"},
        "graph": {"options", "quantization", "weights"},
        "verification": {"graph", "options", "quantization", "weights"},
        "tensorrt": {"options"},
        "exporter": {
            *(
                "folder",
                "genai",
                "graph",
                "publishing",
                "options",
                "quantization",
                "sources",
                "text",
                "verification",
            ),
            "weights",
        },
        "cli": {"exporter", "options", "publishing", "quantization", "sources", "tensorrt"},
    },
    "dawn_calibration": {
        GROUND: set(),
        "tasks": set(),
        "prompts": {"tasks"},
        "ranges": {"prompts"},
        "thresholds": {"prompts"},
        "compare": {"prompts"},
        "cli": {"compare", "prompts", "ranges", "tasks", "thresholds"},
    },
    "dawn_serve": {
        GROUND: set(),
        "wire": set(),
        "page": set(),
        "talk": {"wire"},
        "api": {"page", "talk", "wire"},
        "server": {"api"},
        "cli": {"server", "api"},
    },
    "dawn_eval": {GROUND: set(), "harness": set()},
}
"""Room -> rooms that it may import; all may import the ground. A room is a folder, or the modules
at the top of a package that go together, named after the one that is read first."""

TOGETHER: Mapping[str, Mapping[str, str]] = {
    "dawn_runtime": dict.fromkeys(
        (
            *("asynchronous", "decoder", "generation", "open_batch", "options", "request"),
            *("results", "rules", "settings", "streams"),
        ),
        "decoder",
    )
    | {"__main__": "cli", "engine_info": "engine_info", "threads": "machine"},
    "dawn_models": dict.fromkeys(("checkpoint", "loading", "reading"), "checkpoint"),
    "dawn_export": {
        "options": "options",
        **dict.fromkeys(("api", "describe", "exporter", "preflight"), "exporter"),
        **dict.fromkeys(("cli", "__main__"), "cli"),
    },
    "dawn_calibration": dict.fromkeys(
        ("answers", "checkpoints", "judges", "prompts", "torch_engine"), "prompts"
    ),
    "dawn_serve": {"server": "server", "cli": "cli", "flags": "cli"},
    "dawn_eval": {"__main__": "harness", "harness": "harness"},
}


@cache
def inner_imports(package: str) -> dict[str, set[str]]:
    """Module of a package -> modules of it that it imports, for type checkers alone included."""
    base = PACKAGES[package]
    paths = {dotted(package, path.relative_to(base)): path for path in modules(package)}
    return {name: set(targets(parsed(path), name, set(paths))) for name, path in paths.items()}


def dotted(package: str, path: Path) -> str:
    parts = [part for part in path.with_suffix("").parts if part != "__init__"]
    return ".".join((package, *parts))


def targets(tree: ast.AST, own: str, known: set[str]) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module is not None:
            for alias in node.names:
                name = f"{node.module}.{alias.name}"
                name = name if name in known else node.module
                if name in known and name != own:
                    yield name


def room_of(package: str, module: str) -> str:
    """The folder of a module, or the room that a module at the top is a part of."""
    first = module.split(".")[1] if "." in module else "__init__"
    if (PACKAGES[package] / first).is_dir():
        return first
    return TOGETHER[package].get(first, GROUND)


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_go_down_the_floors_of_a_package(package: str) -> None:
    floors = FLOORS[package]
    rooms = {room_of(package, module) for module in inner_imports(package) if "." in module}
    assert rooms == set(floors), "every room has a floor, and every floor is a room"
    for module, imported in inner_imports(package).items():
        if "." not in module:  # the package itself hands out names of all floors
            continue
        room = room_of(package, module)
        for target in imported - {package}:
            other = room_of(package, target)
            assert other in (room, GROUND, *floors[room]), f"{module} imports {target}"


@pytest.mark.parametrize("package", PACKAGES)
def test_no_module_imports_itself_by_a_detour(package: str) -> None:
    """Folders that hand out names of their modules count as those modules' readers."""
    try:
        TopologicalSorter(inner_imports(package)).prepare()
    except CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


@pytest.mark.parametrize("package", PACKAGES)
def test_the_floors_are_floors(package: str) -> None:
    TopologicalSorter(FLOORS[package]).prepare()
