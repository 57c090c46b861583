#!/usr/bin/env bash
# Check every path of an NVIDIA GPU beside the CPU, with all set-up; the report is build/gpu_check.json.
#
#   bash scripts/gpu_check.sh                       the shipped models, exported here
#   bash scripts/gpu_check.sh build/dream ...       artifacts that are there already
#
# Environment: GPU_CHECK_CUDA=12 takes the packages of CUDA 12 (JetPack 6), default 13.
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
pip() { python -m pip --disable-pip-version-check "$@"; }
echo "installing dawn-edge[dev] and packages of CUDA ${GPU_CHECK_CUDA:=13} into .venv-gpu" >&2
pip install --quiet --constraint constraints.txt --editable ".[dev]" >&2
if [ "$GPU_CHECK_CUDA" = 12 ]; then
    pip install --quiet "cuda-python>=12.6,<13" nvidia-cuda-nvrtc-cu12 >&2
else
    pip install --quiet "cuda-python>=13" "nvidia-cuda-nvrtc>=13" >&2
fi
# The builds for CPU and GPU are one module: the second replaces the first. Where there is no wheel
# for this machine the checks of that engine are skipped, and the report says so.
version="$(sed -n 's/^onnxruntime==//p' constraints.txt)"
pip uninstall --quiet --yes onnxruntime >&2 || true
pip install --quiet "onnxruntime-gpu[cuda,cudnn]==$version" >&2 ||
    pip install --quiet --constraint constraints.txt onnxruntime >&2

artifacts=("$@")
if [ "${#artifacts[@]}" = 0 ]; then
    for model in tiny-dream tiny-llada; do
        for precision in fp32 fp16; do
            artifact="build/gpu-$model-$precision"
            dawn-export --model "models/$model" --precision "$precision" --output "$artifact" --force
            artifacts+=("$artifact")
        done
    done
fi
for artifact in "${artifacts[@]}"; do
    python -c 'import tensorrt' 2>/dev/null || { echo "TensorRT is not installed; skipped" >&2; break; }
    dawn-export --target tensorrt --artifact "$artifact" ||
        echo "gpu_check: no plan for $artifact; its checks will fail and say why" >&2
done
mkdir -p build
python scripts/gpu_check.py --output build/gpu_check.json "${artifacts[@]}"
