#!/usr/bin/env bash
# What a device needs, and text from it: three prompts by the shipped INT8 artifact of tiny-dream.
# Then the exporter: the shipped checkpoint becomes an artifact, and the prompts are decoded again,
# by DAWN and one token per step.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"

prompts=scripts/quickstart.jsonl
results=build/quickstart
mkdir -p "$results"

decode() { # artifact, policy, file of the answers
    dawn-generate "$1" --quiet --policy "$2" --max-new-tokens 64 --input "$prompts" \
        --output "$3" --overwrite
}

prepare_environment cpu .venv-device
decode models/tiny-dream-int8 dawn "$results/shipped.jsonl"
python scripts/quickstart_table.py "$prompts" "$results/shipped.jsonl"

prepare_environment cpu,export
artifact="$results/tiny-dream"
# Exported again whenever the checkpoint or the exporter is newer than the artifact.
if [ ! -f "$artifact/dawn.json" ] ||
    [ -n "$(find models/tiny-dream models/dawn_models export runtime -newer "$artifact/dawn.json" -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
    dawn-export --model models/tiny-dream --output "$artifact" --verify --force
fi
for policy in dawn one-per-step; do
    decode "$artifact" "$policy" "$results/$policy.jsonl"
done
python scripts/quickstart_table.py "$prompts" "$results/dawn.jsonl" "$results/one-per-step.jsonl"
