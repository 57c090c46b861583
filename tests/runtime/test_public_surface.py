"""The names others rely on, and what importing them costs."""

import subprocess
import sys
from pathlib import Path

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


def run_python(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
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


def test_import_loads_numpy_and_the_standard_library_only() -> None:
    code = """
import sys
import numpy
before = set(sys.modules)
import dawn_runtime
names = {name.split(".")[0] for name in set(sys.modules) - before}
print(*sorted(names - set(sys.stdlib_module_names) - {"dawn_runtime", "numpy"}))
"""
    # What `typing` lacks there; a declared dependency of Python 3.10.
    assert run_python(code) == ("typing_extensions" if sys.version_info < (3, 11) else "")


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
