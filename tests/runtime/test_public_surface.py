"""The names others rely on, and what importing them costs."""

import ast
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

import dawn_runtime
from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.policies import GUARDS, POLICIES

RUNTIME = Path(dawn_runtime.__file__).parent.parent
HEAVY = ("torch", "onnx", "onnxruntime", "safetensors", "tokenizers", "jinja2", "onnxscript")

BLOCKER = f"""
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Blocker())
"""


def run_python(code: str, *options: str) -> str:
    done = subprocess.run(
        [sys.executable, *options, "-c", code],
        capture_output=True,
        text=True,
        env={"PYTHONPATH": str(RUNTIME), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_public_names_are_pinned() -> None:
    assert dawn_runtime.__all__ == [
        "Adjacent",
        "Apart",
        "Artifact",
        "ArtifactError",
        "BatchFullError",
        "Blocks",
        "Budget",
        "Cancellation",
        "Clad",
        "Commit",
        "CommitStream",
        "Conv",
        "ConvDrawn",
        "Conversation",
        "Credit",
        "Dapd",
        "Dawn",
        "DawnError",
        "Decoder",
        "DependencyError",
        "Dico",
        "Dream",
        "Dual",
        "Eb",
        "Engine",
        "EngineError",
        "EngineInfo",
        "EntropyBound",
        "Event",
        "Factor",
        "Filling",
        "FreeDave",
        "Guard",
        "Hierarchy",
        "Hole",
        "Klass",
        "Llada",
        "LocalLeap",
        "Lsp",
        "Manifest",
        "NoCache",
        "OnePerStep",
        "OpenBatch",
        "OptionError",
        "Piece",
        "Policy",
        "Prefix",
        "PromptError",
        "Prophet",
        "Pruned",
        "Result",
        "RowView",
        "Rpd",
        "Scheme",
        "Settings",
        "Single",
        "Sliding",
        "StepInputs",
        "StepOutputs",
        "Stream",
        "Streaming",
        "TextStream",
        "Threshold",
        "Unmask",
        "Wino",
        "__version__",
        "open_engine",
    ]
    assert all(hasattr(dawn_runtime, name) for name in dawn_runtime.__all__)


def test_registered_names_are_pinned() -> None:
    assert POLICIES.names() == (
        *("adjacent", "clad", "conv", "dapd", "dawn", "dico", "dream", "eb", "factor", "hierarchy"),
        *("klass", "llada", "local-leap", "lsp", "one-per-step", "rpd", "sdar", "streaming"),
        *("threshold", "wedlm"),
    )
    assert GUARDS.names() == ("adjacent", "budget", "entropy-bound")
    assert WINDOWS.names() == ("blocks", "pruned", "single", "sliding")
    assert CACHES.names() == ("causal", "d2", "dual", "none", "prefix", "trailing")


def test_every_public_error_is_a_dawn_error() -> None:
    errors = [
        dawn_runtime.ArtifactError,
        dawn_runtime.EngineError,
        dawn_runtime.OptionError,
        dawn_runtime.PromptError,
        dawn_runtime.DependencyError,
    ]
    assert all(issubclass(error, dawn_runtime.DawnError) for error in errors)
    assert issubclass(dawn_runtime.OptionError, ValueError)
    assert issubclass(dawn_runtime.DependencyError, ImportError)


def test_version_agrees_with_the_package_metadata() -> None:
    pyproject = (RUNTIME.parent / "pyproject.toml").read_text()
    assert f'version = "{dawn_runtime.__version__}"' in pyproject


def test_import_loads_no_more_than_the_version() -> None:
    code = """
import sys
import dawn_runtime
ours = {name for name in sys.modules if name.startswith("dawn_")}
print(*sorted(ours), *sorted({name.split(".")[0] for name in sys.modules} - {"dawn_runtime"}
    - set(sys.stdlib_module_names) - {"__main__", "__mp_main__"}))
"""
    assert run_python(code, "-S") == "dawn_runtime dawn_runtime._version"


def test_public_names_load_numpy_and_the_standard_library_only() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
from dawn_runtime import *
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(names - set(sys.stdlib_module_names) - {"dawn_runtime", "numpy"}))
"""
    # What `typing` lacks there; a declared dependency of Python 3.10.
    assert run_python(code) == ("typing_extensions" if sys.version_info < (3, 11) else "")


def test_checkers_and_the_running_program_find_the_same_public_names() -> None:
    source = ast.parse(Path(dawn_runtime.__file__).read_text(encoding="utf-8"))
    checked = next(node for node in source.body if isinstance(node, ast.If)).body
    seen = {
        alias.name: (node.module or "").removeprefix("dawn_runtime.")
        for node in checked
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert seen == dawn_runtime._MODULES
    assert sorted({*seen, "__version__"}) == sorted(dawn_runtime.__all__)
    assert set(dawn_runtime.__all__) <= set(dir(dawn_runtime))
    for name, module in seen.items():
        found = getattr(import_module(f"dawn_runtime.{module}"), name)
        assert getattr(dawn_runtime, name) is found
    with pytest.raises(AttributeError, match="module 'dawn_runtime' has no attribute 'Nothing'"):
        _ = dawn_runtime.Nothing


def test_decoding_works_where_every_optional_package_is_missing() -> None:
    code = (
        BLOCKER
        + """
from dawn_runtime import Decoder
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
manifest = fake_manifest()
result = Decoder(manifest, FakeEngine(manifest)).generate(
    input_ids=[1, 2, 3], max_new_tokens=40, policy="dawn", stop_at_eos=False
)
print(len(result.tokens), result.policy)
"""
    )
    assert run_python(code) == "40 dawn"


def test_missing_packages_are_named_with_the_extra_that_brings_them() -> None:
    code = (
        BLOCKER
        + """
from pathlib import Path
from dawn_runtime import DependencyError
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.engine.ort.cpu import OrtEngine
from dawn_runtime.tokenizer import Tokenizer
for attempt in (
    lambda: OrtEngine(Path("model.onnx"), fake_manifest()),
    lambda: Tokenizer(Path("tokenizer.json")),
    lambda: ChatTemplate("", {}).render([]),
):
    try:
        attempt()
    except DependencyError as error:
        print(error)
"""
    )
    lines = run_python(code).splitlines()
    assert ["pip install" in line for line in lines] == [True, True, True]
    assert "'dawn-edge[cpu]'" in lines[0]
