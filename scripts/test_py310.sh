#!/usr/bin/env bash
# Tests of the runtime on Python 3.10, the one of JetPack 6, with the oldest releases that a device
# may have (constraints-lowest.txt) and pytest.
# Needs python3.10: on the path, from pyenv, or named by $PYTHON310. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

python="$(python310)"
wanted="$("$python" --version; cat pyproject.toml constraints.txt constraints-lowest.txt)"
if [ ! -f .venv310/installed ] || [ "$(cat .venv310/installed)" != "$wanted" ]; then
    echo "installing the runtime into .venv310, downloads about 80 MB" >&2
    "$python" -m venv --clear .venv310
    # The oldest of what is named there, the pinned of all else.
    names="$(sed -n 's|^\([a-z0-9_-]*\)[=<].*|\1|p' constraints-lowest.txt | paste -sd '|')"
    { cat constraints-lowest.txt; grep -vE "^($names)==" constraints.txt; } >.venv310/constraints.txt
    install_pinned .venv310 .venv310/constraints.txt \
        --editable ".[cpu]" hypothesis pytest pytest-xdist onnx
    printf '%s\n' "$wanted" >.venv310/installed
fi

# Artifacts come from the exporter, which needs torch and so the other environment.
prepare_environment dev
export DAWN_TEST_ARTIFACTS="$root/build/test-artifacts"
python tests/support/export_golden.py "$DAWN_TEST_ARTIFACTS"

# Three of them export or build plans themselves.
OMP_NUM_THREADS=1 .venv310/bin/python -m pytest -p no:cacheprovider --numprocesses auto --dist worksteal \
    tests/runtime --ignore tests/runtime/engine/test_tensorrt_engine.py \
    --ignore tests/runtime/engine/test_tensorrt_threads.py \
    --ignore tests/runtime/engine/test_draft_engines.py "$@"
