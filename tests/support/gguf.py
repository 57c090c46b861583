"""GGUF files read back, field by field."""

import struct
from collections.abc import Callable
from io import BytesIO
from typing import Any


def parsed(content: bytes) -> tuple[dict[str, Any], dict[str, tuple[list[int], int, int]], int]:
    """Metadata, tensors (sizes, type, offset), and where data begin."""
    file = BytesIO(content)

    def number(kind: str) -> Any:
        return struct.unpack(f"<{kind}", file.read(struct.calcsize(f"<{kind}")))[0]

    def text() -> str:
        return file.read(number("Q")).decode()

    assert (file.read(4), number("I")) == (b"GGUF", 3)
    tensors, said = number("Q"), number("Q")

    def many() -> list[Any]:
        kind, count = number("I"), number("Q")
        return [readers[kind]() for _ in range(count)]

    readers: dict[int, Callable[[], Any]] = {
        4: lambda: number("I"),
        5: lambda: number("i"),
        6: lambda: number("f"),
        7: lambda: number("?"),
        8: text,
        9: many,
    }
    metadata = {text(): readers[number("I")]() for _ in range(said)}
    found = {}
    for _ in range(tensors):
        name, dims = text(), number("I")
        found[name] = ([number("Q") for _ in range(dims)], number("I"), number("Q"))
    return metadata, found, -(-file.tell() // 32) * 32
