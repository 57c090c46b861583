"""From a masked-diffusion checkpoint to an artifact that decodes without torch.

    from dawn_export import ExportOptions, export

    report = export("models/tiny-dream", "build/tiny-dream", ExportOptions(precision="fp16"))

Importing this package loads neither torch nor onnx; `export` does, after its arguments are checked.
"""

from __future__ import annotations

from dawn_export.api import export
from dawn_export.errors import ExportError, OutputError, PushError, SourceError, VerificationError
from dawn_export.options import ExportOptions
from dawn_export.publishing.push import Pushed, push
from dawn_export.report import Difference, EndToEnd, ExportReport, ValueCheck, Verification
from dawn_export.sources.aliases import ALIASES, Alias

__all__ = [
    "ALIASES",
    "Alias",
    "Difference",
    "EndToEnd",
    "ExportError",
    "ExportOptions",
    "ExportReport",
    "OutputError",
    "PushError",
    "Pushed",
    "SourceError",
    "ValueCheck",
    "Verification",
    "VerificationError",
    "export",
    "push",
]
