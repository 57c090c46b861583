"""Decodes prompts with an artifact, in a process of its own, for `bench_peers`.

    python ours.py < job.json

The job: `artifact`, `threads`, `prompts` (lists of ids), `settings` of `Decoder.generate`.
"""

from __future__ import annotations

import json
import sys

from dawn_runtime import Decoder

_WARM_UP = 2
"""Runs of the model: a whole one, and one on what a cache keeps."""


def main() -> None:
    """Runs the model a few times to warm up, then decodes each prompt."""
    job = json.load(sys.stdin)
    with Decoder.open(job["artifact"], threads=job["threads"]) as decoder:
        decoder.generate(input_ids=job["prompts"][0], **job["settings"], max_forwards=_WARM_UP)
        for number, prompt in enumerate(job["prompts"]):
            print(json.dumps({"begin": number}), flush=True)
            result = decoder.generate(input_ids=prompt, **job["settings"])
            told = {
                "seconds": result.seconds,
                "tokens": len(result.tokens),
                "forwards": result.forwards,
            }
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
