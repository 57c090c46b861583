r"""JSON whose shape cannot come out wrong: the model decides what is in the holes, nothing else.

    python examples/fill_json.py models/tiny-dream-int8 \
        "Write the record as JSON: In London lives a driver named Ann, aged 30."

Every hole is so many tokens; the brackets and the names of fields are given. The small models have
learned whole answers of their own tokens, so the frame is cut as those are.
"""

import json
import sys

from dawn_runtime import Decoder, Filling

FRAME = ['{"name":', 2, '", "age":', 3, ', "city":', 3, '", "job":', 4, '"}']


def main(artifact: str, text: str) -> None:
    """Prints the object, or what does not parse if a hole broke it."""
    with Decoder.open(artifact) as decoder:
        messages = [{"role": "user", "content": text}]
        result = decoder.generate(Filling(FRAME, messages), policy="one-per-step")
    filled = result.text
    try:
        print(json.dumps(json.loads(filled)))
    except ValueError as error:
        print(f"a hole broke the frame ({error}): {filled}")


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2])
