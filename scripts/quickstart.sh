#!/usr/bin/env bash
# Export the shipped tiny-dream and decode three prompts with DAWN, beside one token per step.
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/environment.sh"
prepare_environment cpu,export

artifact=build/tiny-dream
# Exported again whenever the checkpoint or the exporter is newer than the artifact.
if [ ! -f "$artifact/dawn.json" ] ||
    [ -n "$(find models export runtime -newer "$artifact/dawn.json" -type f ! -path '*/__pycache__/*' -print -quit)" ]; then
    dawn-export --model models/tiny-dream --output "$artifact" --verify --force
fi

prompts=scripts/quickstart.jsonl
for policy in dawn one-per-step; do
    dawn-generate "$artifact" --quiet --policy "$policy" --max-new-tokens 64 \
        --input "$prompts" --output "build/quickstart-$policy.jsonl"
done
python scripts/quickstart_table.py "$prompts" build/quickstart-dawn.jsonl build/quickstart-one-per-step.jsonl
