#!/usr/bin/env bash
# Check every path of an NVIDIA GPU beside the CPU, with all set-up; the report is build/gpu_check.json.
#
#   bash scripts/gpu_check.sh                       the shipped models, exported here
#   bash scripts/gpu_check.sh build/dream ...       artifacts that are there already
#
# Arguments go to gpu_check.py. Environment: GPU_CHECK_CUDA=12 takes the packages of CUDA 12
# (JetPack 6), default 13. TensorRT is taken from the system (JetPack, NVIDIA's containers); without
# it its checks are skipped, and the report says so.
# Exit status: 0 all that ran passed, 1 something failed, 3 no NVIDIA GPU.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

# Asked without any package, before anything is installed.
python3 - <<'PYTHON' || exit 3
import ctypes, sys
try:
    driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    reason = f"the driver answers CUresult {status}" if status else "the driver knows none"
except OSError as error:
    reason = str(error)
    count = ctypes.c_int()
if not count.value:
    sys.exit(f"gpu_check: no NVIDIA GPU: {reason}; nothing was checked")
PYTHON

# System packages are seen, because TensorRT of JetPack is one of them.
[ -x .venv-gpu/bin/python ] || python3 -m venv --system-site-packages .venv-gpu
PATH="$PWD/.venv-gpu/bin:$PATH"
pip() { python -m pip --disable-pip-version-check "$@" >&2; }
install() { pip install --quiet --constraint constraints.txt "$@"; }
without() { echo "gpu_check: goes on without $1; the report says what that leaves out" >&2; }

echo "installing dawn-edge and packages of CUDA ${GPU_CHECK_CUDA:=13} into .venv-gpu" >&2
install --editable . pytest hypothesis
# All that follows can be missing: what needs it is skipped.
install --editable ".[export]" || without "the exporter (it needs artifacts by name then)"
if [ "$GPU_CHECK_CUDA" = 12 ]; then
    pip install --quiet "cuda-python>=12.6,<13" nvidia-cuda-nvrtc-cu12 || without "cuda-python"
else
    pip install --quiet "cuda-python>=13" "nvidia-cuda-nvrtc>=13" || without "cuda-python"
fi
# The builds for CPU and GPU are one module: the second replaces the first.
version="$(python -c 'from importlib.metadata import version; print(version("onnxruntime"))' \
    2>/dev/null || sed -n 's/^onnxruntime==\([^;]*\).*/\1/p' constraints.txt | head -n 1)"
pip uninstall --quiet --yes onnxruntime || true
pip install --quiet "onnxruntime-gpu[cuda,cudnn]==$version" || {
    without "onnxruntime-gpu $version"
    install onnxruntime || without "onnxruntime"
}
python -c 'import tensorrt; print("TensorRT", tensorrt.__version__)' >&2 || without "TensorRT"

mkdir -p build
exec python scripts/gpu_check.py --output build/gpu_check.json "$@"
