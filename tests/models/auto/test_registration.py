"""`register` without transformers, and the names under which it finds tensors."""

import re
import subprocess
import sys
from typing import Any

import pytest

from dawn_models import FAMILIES, register
from dawn_models.auto.names import renamings
from dawn_models.families.family import Family

NUMBER = r"(\d+)"


def test_without_transformers_one_line_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ImportError, match=r"^dawn_models.register needs .*'dawn-edge\[transf"):
        register()


def test_asking_for_register_loads_neither_torch_nor_transformers() -> None:
    script = "import sys, dawn_models; dawn_models.register; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, check=True, text=True
    )
    assert not {"torch", "transformers"} & set(done.stdout.split())


def moved(pattern: str, target: str, name: str) -> str | None:
    """A name renamed as transformers does it: one number, brackets standing for themselves."""
    found = re.match(pattern + r"(?!\w)", name)
    if found is None:
        return None
    plain = target.removeprefix("^").replace("\\.", ".")
    return plain.replace(NUMBER, found[1]) if found.groups() else plain


@pytest.mark.parametrize("family", FAMILIES.values(), ids=lambda family: family.name)
def test_every_name_has_one_way_there_and_back(family: Family) -> None:
    for parameter, name in family.weight_names.items():
        theirs = name.format(i=17)
        middle = "transformer.layers.17." if "{i}" in name else "transformer."
        there = [new for one, other in renamings(family) if (new := moved(one, other, theirs))]
        assert there == [middle + parameter]
        back = [new for one, other in renamings(family) if (new := moved(other, one, there[0]))]
        assert back == [theirs]


def test_families_of_one_type_have_tensors_of_the_same_names() -> None:
    """transformers renames by type: the class is chosen before anything else is read."""
    for one in FAMILIES.values():
        for other in FAMILIES.values():
            if set(one.types) & set(other.types):
                assert one.weight_names == other.weight_names
