"""Decoding next to an engine on a GPU: memory, kept keys and evidence that never leave it.

Kernels are CUDA C++ (`*.cu` in this folder), compiled for the GPU at hand by NVRTC when they are
first used. Nothing here is imported unless an engine on a GPU is opened.
"""

from dawn_runtime.cuda.arrays import DeviceArray
from dawn_runtime.cuda.chooser import Chooser
from dawn_runtime.cuda.device import KERNELS, Argument, Device
from dawn_runtime.cuda.gpu import CudaDevice
from dawn_runtime.cuda.kept_blocks import KeptBlocks
from dawn_runtime.cuda.kernels import cubin
from dawn_runtime.cuda.kv import DeviceKv
from dawn_runtime.cuda.present import PresentMemory

__all__ = [
    "KERNELS",
    "Argument",
    "Chooser",
    "CudaDevice",
    "Device",
    "DeviceArray",
    "DeviceKv",
    "KeptBlocks",
    "PresentMemory",
    "cubin",
]
