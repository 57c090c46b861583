"""Tells transformers of the families that it lacks."""

from __future__ import annotations

import importlib.util
from importlib import import_module

from dawn_models.families import FAMILIES

_NEEDED = "dawn_models.register needs transformers, which is not installed"
_ADVICE = "pip install 'dawn-edge[transformers]'"


def register() -> tuple[str, ...]:
    """Let `AutoConfig`, `AutoModel` and `AutoModelForMaskedLM` load our families.

    What transformers has a class for stays its own (``qwen2``, of which Open-dCoder is one), and
    so does what other code has registered. A second call changes nothing.

    Returns:
        Every ``model_type`` that our classes serve, in the order of the families.

    Raises:
        ImportError: transformers is not installed.
    """
    if importlib.util.find_spec("transformers") is None:
        raise ImportError(f"{_NEEDED}; {_ADVICE}", name="transformers")
    types = dict.fromkeys(name for family in FAMILIES.values() for name in family.types)
    # Loaded here: it takes seconds, and whoever exports does without.
    serve = import_module("dawn_models.auto.classes").serve
    return tuple(name for name in types if serve(name))
