#!/usr/bin/env bash
# What a device gets: a bill of materials (CycloneDX 1.6, JSON) of an environment with some extras and the pinned
# versions, written to build/sbom-EXTRAS.json. Arguments: extras, by default "cpu".
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

extras="${1:-cpu}"
device="build/sbom/${extras//,/-}"
tool=build/sbom/tool
written="build/sbom-${extras//,/-}.json"
mkdir -p build/sbom

(prepare_environment "$extras" "$device")
# In an environment of its own: what lists packages is not one of them.
if [ ! -x "$tool/bin/cyclonedx-py" ]; then
    python3 -m venv "$tool"
    "$tool/bin/python" -m pip install --quiet --disable-pip-version-check cyclonedx-bom==7.5.0
fi
"$tool/bin/cyclonedx-py" environment --spec-version 1.6 --output-reproducible \
    --pyproject pyproject.toml --output-file "$written" "$device"
echo "$written"
