#!/usr/bin/env bash
# Tests of what needs transformers, optimum, onnx-genai or lm_eval, which the development environment
# leaves out, in an environment of their own. Arguments go to pytest.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment dev,transformers,optimum,onnx-genai,eval .venv-transformers

OMP_NUM_THREADS=1 python -m pytest -p no:cacheprovider --numprocesses auto --dist worksteal \
    -m "transformers or optimum or onnx_genai or lm_eval" tests/models tests/export tests/evaluation \
    tests/repository/test_documents.py "$@"
