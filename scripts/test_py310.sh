#!/usr/bin/env bash
# Tests of the runtime on Python 3.10, the one of JetPack 6, with what a device installs and pytest.
# Needs python3.10: on the path, from pyenv, or named by $PYTHON310. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python="$(python310)"
wanted="$("$python" --version; cat pyproject.toml constraints.txt)"
if [ ! -f .venv310/installed ] || [ "$(cat .venv310/installed)" != "$wanted" ]; then
    echo "installing the runtime into .venv310" >&2
    "$python" -m venv .venv310
    .venv310/bin/python -m pip install --quiet --disable-pip-version-check \
        --constraint constraints.txt --editable ".[cpu]" hypothesis pytest pytest-xdist onnx
    printf '%s\n' "$wanted" >.venv310/installed
fi

# Artifacts come from the exporter, which needs torch and so the other environment.
prepare_environment dev
export DAWN_TEST_ARTIFACTS="$root/build/test-artifacts"
python tests/support/export_golden.py "$DAWN_TEST_ARTIFACTS"

# One of them builds its plans with the exporter.
OMP_NUM_THREADS=1 .venv310/bin/python -m pytest -p no:cacheprovider --numprocesses auto \
    tests/runtime --ignore tests/runtime/test_tensorrt_engine.py "$@"
