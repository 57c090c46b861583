"""A chat on the terminal: text as it becomes certain, Ctrl-C stops an answer and not the program.

python examples/chat.py models/tiny-dream-int8

A message may hold the text of a special token; it stays text.
"""

import sys
from typing import Any

from dawn_runtime import DawnError, Decoder


def main(artifact: str) -> None:
    """Talks until the input ends."""
    messages: list[dict[str, Any]] = []
    with Decoder.open(artifact, literal_text=True) as decoder:
        for line in sys.stdin:
            messages.append({"role": "user", "content": line.strip()})
            answer = ""
            try:
                for piece in decoder.stream(messages=messages, timeout=60):
                    answer += piece
                    print(piece, end="", flush=True)
            except KeyboardInterrupt:
                print(" ...", end="")
            except DawnError as error:  # one line, such as: the conversation is too long
                print(error, end="")
            print()
            messages.append({"role": "assistant", "content": answer})


if __name__ == "__main__":
    main(sys.argv[1])
