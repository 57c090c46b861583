"""Decoding of diffusion language models around an exported graph, without torch.

    from dawn_runtime import Decoder

    with Decoder.open("build/tiny-dream") as decoder:
        result = decoder.generate("What is 3 + 4?", max_new_tokens=64, policy="dawn")
    print(result.text, result.forwards)

Importing this package loads NumPy and the standard library; engines, tokenizers and templates load
their libraries when they are opened. `dawn_runtime.contract` describes the graph and
`dawn_runtime.manifest` the artifact folder; `dawn_runtime.engine.fake` holds engines for tests.
"""

from dawn_runtime._version import __version__
from dawn_runtime.artifact import Artifact
from dawn_runtime.decoder import Decoder
from dawn_runtime.decoding import (
    Blocks,
    Commit,
    ConvDrawn,
    Credit,
    Dual,
    FreeDave,
    NoCache,
    Prefix,
    Prophet,
    Pruned,
    Scheme,
    Single,
    Sliding,
    Unmask,
    Wino,
)
from dawn_runtime.engine import Engine, EngineInfo, StepInputs, StepOutputs, open_engine
from dawn_runtime.errors import (
    ArtifactError,
    BatchFullError,
    DawnError,
    DependencyError,
    EngineError,
    OptionError,
    PromptError,
)
from dawn_runtime.manifest import Manifest
from dawn_runtime.open_batch import Event, OpenBatch
from dawn_runtime.policies import (
    Clad,
    Conv,
    Dapd,
    Dawn,
    Dico,
    Factor,
    Hierarchy,
    Klass,
    LocalLeap,
    Lsp,
    OnePerStep,
    Policy,
    RowView,
    Streaming,
    Threshold,
)
from dawn_runtime.prompts import Filling
from dawn_runtime.results import Hole, Result
from dawn_runtime.settings import Settings
from dawn_runtime.streams import CommitStream, TextStream

__all__ = [
    "Artifact",
    "ArtifactError",
    "BatchFullError",
    "Blocks",
    "Clad",
    "Commit",
    "CommitStream",
    "Conv",
    "ConvDrawn",
    "Credit",
    "Dapd",
    "Dawn",
    "DawnError",
    "Decoder",
    "DependencyError",
    "Dico",
    "Dual",
    "Engine",
    "EngineError",
    "EngineInfo",
    "Event",
    "Factor",
    "Filling",
    "FreeDave",
    "Hierarchy",
    "Hole",
    "Klass",
    "LocalLeap",
    "Lsp",
    "Manifest",
    "NoCache",
    "OnePerStep",
    "OpenBatch",
    "OptionError",
    "Policy",
    "Prefix",
    "PromptError",
    "Prophet",
    "Pruned",
    "Result",
    "RowView",
    "Scheme",
    "Settings",
    "Single",
    "Sliding",
    "StepInputs",
    "StepOutputs",
    "Streaming",
    "TextStream",
    "Threshold",
    "Unmask",
    "Wino",
    "__version__",
    "open_engine",
]
