"""Families that see everything decode token for token what their authors' loops do.

Left out is what today's rules cannot say: guidance by a second run (`mdlm_cfg`), several tokens
that are never taken (`mdlm_suppress`), tokens that are taken back (`p2_*`), and blocks cut from
position 0 of a template (`mdlm_infill`).
"""

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Artifact, Decoder, Result
from dawn_runtime.engine import open_engine
from dawn_runtime.manifest import Attention
from support.golden_families import Case, cases

ExportedFamily = Callable[[str], Path]

A2D = ("mdlm_b32_s64", "mdlm_b64_s16", "mdlm_b20_s21", "mdlm_batch", "mdlm_shift")
DREAM = ("entropy_s64", "entropy_s16", "maskgit_s24", "margin_s24", "entropy_batch")
TRIED = [
    *(("a2d-qwen2", case) for case in A2D),
    *(("a2d-qwen3", case) for case in A2D),
    *(("open-dcoder", case) for case in DREAM),
    *(("coda", case) for case in DREAM),
]


def settings_of(name: str, case: Case) -> dict[str, Any]:
    """What the authors' options are here."""
    options = case.options
    asked: dict[str, Any] = {"max_new_tokens": options["max_new_tokens"], "stop_at_eos": False}
    if not name.startswith("a2d"):
        rule = {"alg": options["alg"], "steps": options["steps"]}
        return {**asked, "policy": "dream", "options": rule, "window": "single"}
    blocks = -(-options["max_new_tokens"] // options["block_size"])
    rule = {"schedule": "rounded", "block_steps": -(-options["steps"] // blocks)}
    asked |= {"policy": "llada", "options": rule, "block_length": options["block_size"]}
    return asked


def decoded(folder: Path, name: str, wanted: list[Case], shift: int) -> list[Result]:
    artifact = Artifact.open(folder)
    # Their two samplers are run on the same weights; this is the one that sees everything.
    manifest = replace(artifact.manifest, attention=Attention(), prediction_shift=shift)
    settings = settings_of(name, wanted[0])
    with closing(open_engine(artifact, "auto", threads=1)) as engine:
        decoder = Decoder(manifest, engine)
        return decoder.generate_batch([case.prompt for case in wanted], **settings)


@pytest.mark.parametrize(("name", "case"), TRIED)
def test_answers_and_runs_are_those_of_the_authors(
    name: str, case: str, exported_family: ExportedFamily
) -> None:
    wanted = list(cases(name, case))
    shift = int(not name.startswith("a2d") or case == "mdlm_shift")
    found = decoded(exported_family(name), name, wanted, shift)
    # In a batch, theirs fill what is left of the longest row with end tokens.
    count = settings_of(name, wanted[0])["max_new_tokens"]
    assert [one.tokens.tolist() for one in found] == [one.answer[:count] for one in wanted]
    if case.endswith("batch"):
        return
    for one, theirs in zip(found, wanted, strict=True):
        committing = len({commit.step for commit in one.trace})
        assert one.forwards == committing <= len(theirs.rows)
        assert one.rows_fed == sum(theirs.rows[:committing])
