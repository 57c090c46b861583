"""Child process: loads ONNX Runtime, and a session of it on the smallest model.

    python -m dawn_runtime.machine.probe                     what this ONNX Runtime offers
    python -m dawn_runtime.machine.probe PROVIDER OPSET IR   whether a provider takes such a model

Prints one JSON object. ONNX Runtime explains on standard error why a provider does not load.
"""

import json
import sys
from typing import Any

from dawn_runtime.machine.onnx_bytes import GraphVersions, minimal_model


def offered(onnxruntime: Any) -> dict[str, Any]:
    """Returns the version and the execution providers this build of ONNX Runtime names."""
    return {
        "version": onnxruntime.__version__,
        "providers": onnxruntime.get_available_providers(),
        "folder": onnxruntime.__path__[0],
    }


def loaded(onnxruntime: Any, provider: str, versions: GraphVersions) -> dict[str, Any]:
    """Returns whether a session on the provider is one: ONNX Runtime falls back in silence."""
    try:
        session = onnxruntime.InferenceSession(minimal_model(versions), providers=[provider])
    except Exception as error:  # its classes share no base class; this process only reports
        return {"loaded": False, "reason": " ".join(str(error).split())}
    return {"loaded": provider in session.get_providers(), "reason": ""}


def main(arguments: list[str]) -> None:
    """Answers one question on standard output."""
    import onnxruntime  # type: ignore[import-untyped]

    if arguments:
        provider, opset, ir_version = arguments
        versions = GraphVersions(int(opset), int(ir_version))
        print(json.dumps(loaded(onnxruntime, provider, versions)))
    else:
        print(json.dumps(offered(onnxruntime)))


if __name__ == "__main__":
    main(sys.argv[1:])
