#!/usr/bin/env bash
# Check every path of an NVIDIA GPU beside the CPU, with all set-up; the report is build/gpu_check.json.
#
#   bash scripts/gpu_check.sh                       the shipped models, exported here
#   bash scripts/gpu_check.sh build/dream ...       artifacts that are there already
#
# Arguments go to gpu_check.py. Packages are of the driver's CUDA, 12 or 13; GPU_CHECK_CUDA=12 asks
# for the older ones. TensorRT is taken from the system (JetPack, NVIDIA's containers). What cannot
# be installed is left out, and the report on standard output says so under "left_out".
# Exit status: 0 all that ran passed, 1 something failed, 3 no NVIDIA GPU.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

# Asked without any package, before anything is installed.
driver_cuda="$(python3 - <<'PYTHON'
import ctypes, sys
version, count = ctypes.c_int(), ctypes.c_int()
try:
    driver = ctypes.CDLL("libcuda.so.1")
    driver.cuDriverGetVersion(ctypes.byref(version))
    status = driver.cuInit(0) or driver.cuDeviceGetCount(ctypes.byref(count))
    reason = f"the driver answers CUresult {status}" if status else "the driver knows none"
except OSError as error:
    reason = str(error)
if not count.value:
    sys.exit(f"gpu_check: no NVIDIA GPU: {reason}; nothing was checked")
print(version.value // 1000)
PYTHON
)" || exit 3

cuda="${GPU_CHECK_CUDA:-$driver_cuda}"
if ! [[ "$cuda" =~ ^[0-9]+$ ]] || [ "$cuda" -lt 12 ]; then
    echo "gpu_check: got CUDA $cuda, expected 12 or newer; there are no packages for older drivers" >&2
    exit 1
fi
if [ "$cuda" -gt "$driver_cuda" ]; then
    echo "gpu_check: GPU_CHECK_CUDA=$cuda, but the driver runs CUDA $driver_cuda; unset it" >&2
    exit 1
fi

# System packages are seen, because TensorRT of JetPack is one of them.
[ -x .venv-gpu/bin/python ] || python3 -m venv --system-site-packages .venv-gpu
PATH="$root/.venv-gpu/bin:$PATH"
install() { install_pinned .venv-gpu constraints.txt "$@" >&2; }
unpinned() { python -m pip install --quiet --disable-pip-version-check "$@" >&2; }
GPU_CHECK_LEFT_OUT=""
without() { # what is missing, and what that leaves out
    echo "gpu_check: goes on without $*" >&2
    GPU_CHECK_LEFT_OUT+="$*"$'\n'
}

echo "installing dawn-edge and packages of CUDA $cuda into .venv-gpu, downloads 1 to 4 GB" >&2
install --editable . pytest hypothesis
# All that follows can be missing: what needs it is skipped.
install onnxruntime || without "onnxruntime: nothing to compare with"
install --editable ".[export]" || without "the exporter: it needs artifacts by name then"
extra=tensorrt
if [ "$cuda" -lt 13 ]; then extra="tensorrt-cu$cuda"; fi
# The pins are those of CUDA 13.
unpinned --editable ".[$extra]" || without "cuda-python and NVRTC: every check on a GPU fails then"
# The builds for CPU and GPU are one module: the second replaces the first.
version="$(sed -n 's/^onnxruntime==\([^;]*\); python_version >= .*/\1/p' constraints.txt)"
if [ "$cuda" -lt 13 ]; then
    without "onnxruntime-gpu: the releases that compute attention with shared keys are of CUDA 13"
else
    python -m pip uninstall --quiet --yes onnxruntime >&2 || true
    unpinned "onnxruntime-gpu[cuda,cudnn]==$version" || {
        without "onnxruntime-gpu $version: no wheel for this machine, or it did not install"
        install onnxruntime || without "onnxruntime: nothing to compare with"
    }
fi
python -c 'import tensorrt; print("TensorRT", tensorrt.__version__)' >&2 ||
    without "TensorRT: no plan is built or run"

mkdir -p build
export GPU_CHECK_LEFT_OUT
exec python scripts/gpu_check.py --output build/gpu_check.json "$@"
