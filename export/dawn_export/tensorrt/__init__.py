"""From an artifact's graph to TensorRT plans, on the machine that will run them.

Neither torch nor onnx is needed: an artifact that was exported on a workstation is copied to the
device, and its plans are built there.
"""

from dawn_export.tensorrt.build import adopt_plan, build_plan
from dawn_export.tensorrt.options import EngineOptions
from dawn_export.tensorrt.report import PlanReport
from dawn_export.tensorrt.trtexec import write_commands

__all__ = [
    "EngineOptions",
    "PlanReport",
    "adopt_plan",
    "build_plan",
    "write_commands",
]
