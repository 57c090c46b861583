"""Families that see everything decode token for token what their authors' loops do.

A second run for guidance, tokens that are never taken, tokens that are taken back and templates
are among their cases.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import Artifact, Decoder, Result
from dawn_runtime.engine import open_engine
from dawn_runtime.manifest import Attention
from support.golden_families import Case, cases

ExportedFamily = Callable[[str], Path]

A2D = (
    *("mdlm_b32_s64", "mdlm_b64_s16", "mdlm_b20_s21", "mdlm_batch", "mdlm_shift"),
    *("mdlm_cfg", "mdlm_suppress"),
)
DREAM = ("entropy_s64", "entropy_s16", "maskgit_s24", "margin_s24", "entropy_batch")
P2 = ("p2_s24", "p2_batch")
TRIED = [
    *(("a2d-qwen2", case) for case in A2D),
    *(("a2d-qwen3", case) for case in A2D),
    *(("open-dcoder", case) for case in (*DREAM, *P2)),
    *(("coda", case) for case in DREAM),
]


def settings_of(name: str, case: Case) -> dict[str, Any]:
    """What the authors' options are here."""
    options = case.options
    asked: dict[str, Any] = {"max_new_tokens": options["max_new_tokens"], "stop_at_eos": False}
    if options.get("alg") == "p2":
        return {**asked, "policy": "p2", "options": {"steps": options["steps"]}}
    if not name.startswith("a2d"):
        rule = {"alg": options["alg"], "steps": options["steps"]}
        return {**asked, "policy": "dream", "options": rule, "window": "single"}
    blocks = -(-options["max_new_tokens"] // options["block_size"])
    rule = {"schedule": "rounded", "block_steps": -(-options["steps"] // blocks)}
    asked |= {"policy": "llada", "options": rule, "block_length": options["block_size"]}
    asked |= {"guidance": options.get("cfg_scale", 0.0), "forbid": options.get("suppress_tokens")}
    return asked


@contextmanager
def opened(folder: Path, shift: int) -> Iterator[Decoder]:
    """Their two samplers are run on the same weights; this is the one that sees everything."""
    artifact = Artifact.open(folder)
    manifest = replace(artifact.manifest, attention=Attention(), prediction_shift=shift)
    with closing(open_engine(artifact, "auto", threads=1)) as engine:
        yield Decoder(manifest, engine)


def decoded(folder: Path, name: str, wanted: list[Case], shift: int) -> list[Result]:
    settings = settings_of(name, wanted[0])
    with opened(folder, shift) as decoder:
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
        # What is taken back leaves no trace of its steps.
        taken_back = theirs.options.get("alg") == "p2"
        committing = one.forwards if taken_back else len({commit.step for commit in one.trace})
        assert one.forwards == committing <= len(theirs.rows)
        # Guidance feeds every row twice, which theirs count once.
        fed = sum(theirs.rows[:committing]) * (2 if theirs.options.get("cfg_scale") else 1)
        assert one.rows_fed == fed


@pytest.mark.parametrize("name", ["a2d-qwen2", "a2d-qwen3"])
def test_templates_are_filled_block_by_block_from_their_first_position(
    name: str, exported_family: ExportedFamily
) -> None:
    with opened(exported_family(name), shift=0) as decoder:
        for case in cases(name, "mdlm_infill"):
            length, steps = case.options["block_size"], case.options["steps"]
            each = -(-steps // -(-len(case.prompt) // length))
            found = decoder.fill(
                input_ids=case.prompt,
                policy="llada",
                options={"schedule": "rounded", "block_steps": each},
                block_length=length,
            )
            assert found.tokens.tolist() == case.sequence
            assert found.forwards == len(case.rows)
            assert found.rows_fed == sum(case.rows)
