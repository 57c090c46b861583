"""What the user says of a checkpoint where its files do not: flags, and checks of their values.

Beside what is said here stands what a release is known to be, which its short name or its id on the
Hub tells.
"""

from __future__ import annotations

import argparse

from dawn_models import FAMILIES, Told
from dawn_runtime.checks import LARGEST_INTEGER, is_integer, shown
from dawn_runtime.errors import OptionError

FLAGS = ("family", "mask_token_id", "trained_block", "no_draft_adapter")
"""Names of the flags, which are those of the attributes of `Told`."""


def add_told_flags(parser: argparse.ArgumentParser) -> None:
    """Adds one flag for each attribute of `Told`; absent, it is None."""
    group = parser.add_argument_group("what the files of the checkpoint do not say")
    group.add_argument(
        "--family",
        choices=[family.name for family in FAMILIES.values()],
        metavar="NAME",
        help="what the model is, where config.json does not tell; one of %(choices)s",
    )
    group.add_argument(
        "--mask-token-id",
        type=int,
        metavar="N",
        help="id of the mask; default: that of config.json, of the tokenizer, or of the added "
        "token that the family calls its mask",
    )
    group.add_argument(
        "--trained-block",
        type=int,
        metavar="N",
        help="tokens in a block, of a model trained to see block by block; default: config.json's",
    )
    group.add_argument(
        "--no-draft-adapter",
        action="store_const",
        const=True,
        help="leave out the adapter for drafts that lies beside the weights of a model",
    )


def told_of(args: argparse.Namespace) -> Told:
    """Returns what the flags say.

    Raises:
        OptionError: A number is out of range.
    """
    return check_told(Told(**{name: getattr(args, name) for name in FLAGS}))


def check_told(told: object) -> Told:
    """Refuses what cannot be said of a checkpoint.

    Raises:
        OptionError: It is no `Told`, or a value is out of range.
    """
    if not isinstance(told, Told):
        raise OptionError(f"export: told is {shown(told)}; expected Told")
    names = [family.name for family in FAMILIES.values()]
    if told.family is not None and told.family not in names:
        raise OptionError(f"family: got {shown(told.family)}, expected one of {', '.join(names)}")
    if not isinstance(told.no_draft_adapter, bool | None):
        raise OptionError(
            f"no draft adapter: got {shown(told.no_draft_adapter)}, expected True, False or None"
        )
    for name, least in (("mask_token_id", 0), ("trained_block", 1)):
        value = getattr(told, name)
        fits = value is None or (is_integer(value) and least <= value <= LARGEST_INTEGER)
        if not fits:
            raise OptionError(
                f"{name.replace('_', ' ')}: got {shown(value)}, expected a whole number of at "
                f"least {least}"
            )
    return told
