#!/usr/bin/env bash
# Formatting, lint, types and tests, with all set-up from a bare Python. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev

ruff format --check .
ruff check .
mypy
# One thread a process: the workers are the parallelism.
OMP_NUM_THREADS=1 python -m pytest --numprocesses auto "$@"
