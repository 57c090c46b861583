"""A small application around a decoder: deadlines, cancelling, streams, filling in, one by one.

    python examples/assistant.py build/tiny-dream

Whoever embeds the decoder needs little more than is here. `mypy --strict` passes on it.
"""

import asyncio
import sys
from dataclasses import dataclass

from dawn_runtime import DawnError, Decoder, Result
from dawn_runtime.asynchronous import AsyncDecoder


@dataclass(frozen=True)
class Reply:
    """What a user gets to see."""

    text: str
    complete: bool


def shown(result: Result) -> Reply:
    """Marks what is missing of an answer for which there was not enough time."""
    complete = result.finish_reason in ("end", "length")
    return Reply(result.text if complete else result.marked(" ... "), complete)


async def answer(decoder: AsyncDecoder, question: str, seconds: float) -> Reply:
    """Answers within a time, with what there is by then."""
    messages = [{"role": "user", "content": question}]
    return shown(await decoder.generate(messages=messages, timeout=seconds, max_new_tokens=48))


async def first_words(decoder: AsyncDecoder, question: str, count: int) -> str:
    """Reads a stream no further than it wants to; the rest is not decoded."""
    text = ""
    messages = [{"role": "user", "content": question}]
    async with decoder.stream(messages=messages, max_new_tokens=48) as stream:
        async for piece in stream:
            text += piece
            if len(text.split()) > count:
                break
    return " ".join(text.split()[:count])


async def name_in(decoder: AsyncDecoder, sentence: str) -> str:
    """Fills in one field of a record."""
    filled = await decoder.fill(['{"name": "', 6, '"}'], prompt=sentence)
    return filled.holes[0].text


async def main(folder: str) -> int:
    """Answers some questions, side by side, and drops one that nobody waits for any more."""
    async with AsyncDecoder(Decoder.open(folder)) as decoder:
        await decoder.warm_up()
        dropped = asyncio.create_task(decoder.generate("Sort ascending: 9 8 7", timeout=9))
        replies = await asyncio.gather(
            answer(decoder, "Sort ascending: 47 61 56 21 91", 60),
            answer(decoder, "Write the words clock kite cup fish in reverse order.", 0.001),
        )
        dropped.cancel()
        print(*(f"{'' if reply.complete else 'cut: '}{reply.text}" for reply in replies), sep="\n")
        print(await first_words(decoder, "Reverse this list: boat bee hat dog", 2))
        print(await name_in(decoder, "Write the record as JSON: Zoe works as a dancer."))
    return 0 if dropped.cancelled() or dropped.done() else 1


if __name__ == "__main__":
    try:
        sys.exit(asyncio.run(main(*sys.argv[1:2])))
    except DawnError as error:
        sys.exit(f"assistant: {error}")
