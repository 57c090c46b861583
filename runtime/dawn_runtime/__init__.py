"""Decoding of diffusion language models around an exported graph, without torch.

    from dawn_runtime import Decoder

    with Decoder.open("build/tiny-dream") as decoder:
        result = decoder.generate("What is 3 + 4?", max_new_tokens=64, policy="dawn")
    print(result.text, result.forwards)

Importing this package loads nothing but its version. A name is loaded when it is asked for, most of
them with NumPy; engines, tokenizers and templates load their libraries when they are opened.
`dawn_runtime.asynchronous` has the same for asyncio; `dawn_runtime.contract` describes the graph,
`dawn_runtime.manifest` the artifact folder; `dawn_runtime.engine.fake` holds engines for tests.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from dawn_runtime._version import __version__

if TYPE_CHECKING:
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

_MODULES = {
    "Adjacent": "policies",
    "Apart": "policies",
    "Artifact": "artifact",
    "ArtifactError": "errors",
    "BatchFullError": "errors",
    "Blocks": "decoding",
    "Budget": "policies",
    "Cancellation": "cancellation",
    "Clad": "policies",
    "Commit": "decoding",
    "CommitStream": "streams",
    "Conv": "policies",
    "ConvDrawn": "decoding",
    "Conversation": "given",
    "Credit": "decoding",
    "Dapd": "policies",
    "Dawn": "policies",
    "DawnError": "errors",
    "Decoder": "decoder",
    "DependencyError": "errors",
    "Dico": "policies",
    "Dream": "policies",
    "Dual": "decoding",
    "Eb": "policies",
    "Engine": "engine",
    "EngineError": "errors",
    "EngineInfo": "engine",
    "EntropyBound": "policies",
    "Event": "open_batch",
    "Factor": "policies",
    "Filling": "prompts",
    "FreeDave": "decoding",
    "Guard": "policies",
    "Hierarchy": "policies",
    "Hole": "results",
    "Klass": "policies",
    "Llada": "policies",
    "LocalLeap": "policies",
    "Lsp": "policies",
    "Manifest": "manifest",
    "NoCache": "decoding",
    "OnePerStep": "policies",
    "OpenBatch": "open_batch",
    "OptionError": "errors",
    "Piece": "results",
    "Policy": "policies",
    "Prefix": "decoding",
    "PromptError": "errors",
    "Prophet": "decoding",
    "Pruned": "decoding",
    "Result": "results",
    "RowView": "policies",
    "Rpd": "policies",
    "Scheme": "decoding",
    "Settings": "settings",
    "Single": "decoding",
    "Sliding": "decoding",
    "StepInputs": "engine",
    "StepOutputs": "engine",
    "Stream": "streams",
    "Streaming": "policies",
    "TextStream": "streams",
    "Threshold": "policies",
    "Unmask": "decoding",
    "Wino": "decoding",
    "open_engine": "engine",
}
"""Name -> module that it is loaded from."""

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


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    found = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = found
    return found
