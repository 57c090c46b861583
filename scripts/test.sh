#!/usr/bin/env bash
# Formatting, lint, types and tests, with all set-up from a bare Python; then the tests of the
# runtime on Python 3.10, where there is one. Arguments go to the first pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev

ruff format --check .
ruff check .
mypy
# Tests start programs some thousand times: each is compiled once, whatever the environment says.
unset PYTHONDONTWRITEBYTECODE
export PYTHONPYCACHEPREFIX="$root/build/pycache"
# One thread a process: the workers are the parallelism. Each keeps to a stretch of the tests until
# it helps out elsewhere, so what the tests of a file or package share is made by one of them.
OMP_NUM_THREADS=1 python -m pytest --numprocesses auto --dist worksteal "$@"

# One that is named is meant to be used: if it is of no use, that is an error.
if [ -n "${PYTHON310:-}" ] || reason="$(python310 2>&1 >/dev/null)"; then
    bash scripts/test_py310.sh
else
    echo "not tested on Python 3.10: $reason"
fi
