"""Decoding of diffusion language models around an exported graph, without torch.

    from dawn_runtime import Decoder

    with Decoder.open("build/tiny-dream") as decoder:
        result = decoder.generate("What is 3 + 4?", max_new_tokens=64, policy="dawn")
    print(result.text, result.forwards)

Importing this package loads NumPy and the standard library; engines, tokenizers and templates load
their libraries when they are opened. `dawn_runtime.asynchronous` has the same for asyncio;
`dawn_runtime.contract` describes the graph and
`dawn_runtime.manifest` the artifact folder; `dawn_runtime.engine.fake` holds engines for tests.
"""

from dawn_runtime._version import __version__
from dawn_runtime.artifact import Artifact
from dawn_runtime.cancellation import Cancellation
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
from dawn_runtime.given import Conversation
from dawn_runtime.manifest import Manifest
from dawn_runtime.open_batch import Event, OpenBatch
from dawn_runtime.policies import (
    Adjacent,
    Apart,
    Budget,
    Clad,
    Conv,
    Dapd,
    Dawn,
    Dico,
    Dream,
    Eb,
    EntropyBound,
    Factor,
    Guard,
    Hierarchy,
    Klass,
    Llada,
    LocalLeap,
    Lsp,
    OnePerStep,
    Policy,
    RowView,
    Rpd,
    Streaming,
    Threshold,
)
from dawn_runtime.prompts import Filling
from dawn_runtime.results import Hole, Piece, Result
from dawn_runtime.settings import Settings
from dawn_runtime.streams import CommitStream, Stream, TextStream

__all__ = [
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
