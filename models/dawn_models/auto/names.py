"""Names of tensors in a family's checkpoints and in our module, as transformers renames them."""

from __future__ import annotations

from collections.abc import Iterator

from dawn_models.families.family import Family

MODULE = "transformer"
"""What our transformer is called inside the model of transformers."""

_NUMBER = r"(\d+)"


def renamings(family: Family) -> Iterator[tuple[str, str]]:
    """Pattern of a checkpoint's name, pattern of ours; each is also the way back of the other.

    A number in brackets stands for itself on the other side.
    """
    for parameter, name in family.weight_names.items():
        of_layer = "{i}" in name
        ours = f"{MODULE}.layers.{{i}}.{parameter}" if of_layer else f"{MODULE}.{parameter}"
        yield _pattern(name), _pattern(ours)


def _pattern(name: str) -> str:
    return "^" + name.replace(".", r"\.").replace("{i}", _NUMBER)
