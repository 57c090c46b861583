"""Models that decide block by block, or in a window, decode token for token what their authors do.

Through the exported graph, in FP32. Runs and rows differ on purpose where ours does in one run what
theirs does in two; what is left of theirs is worked out from their own record of each run:

    SDAR          no prefill and no run that finishes a block: both are part of the next step
    A2D           the same; theirs compute the text anew for every block besides
    Fast-dLLM v2  no prefill where the prompt ends in a block
    WeDLM         no prefill, and no run that feeds the last tokens once more

Left out: draws from a filtered distribution, whose confidence is that of the filter (`topk1`,
`temperature` of SDAR), and the slow reference of WeDLM (`hf_*`).
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Artifact, Decoder, Result
from dawn_runtime.engine import Engine, open_engine
from dawn_runtime.manifest import Attention
from support.golden_families import folder_of

Opened = Callable[[str], tuple[Artifact, Engine]]
MOST = 2
"""Prompts of a case that are decoded here; all were compared once by hand."""

SDAR = ("dynamic_085", "dynamic_05", "static", "sequential", "dynamic_b8", "static_b4_s2", "stop")
FAST = (
    *("t09_sub8", "t05_sub8", "t07_sub32", "cache_t09", "cache_t05", "b16_sub4"),
    *("stop", "stop_cache", "p32_fixed", "batch_t09", "batch_t095_cache"),
)
A2D = (
    "bd3lm_b32_default",
    "bd3lm_b32_s8",
    "bd3lm_b16_partial",
    "bd3lm_stop",
    "bd3lm_shift",
    "bd3lm_batch",
    "bd3lm_cfg",
)
WEDLM = ("default", "t10", "t10_l0_w8", "none_w4_l1", "none_w6_l01", "window1", "stop", "batch")
TRIED = [
    *(("sdar", case) for case in SDAR),
    *(("fast-dllm-v2", case) for case in FAST),
    *((name, case) for name in ("a2d-qwen2", "a2d-qwen3") for case in A2D),
    *((name, case) for name in ("wedlm-qwen25", "wedlm-qwen3") for case in WEDLM),
]


@dataclass(frozen=True)
class Asked:
    """A case in our words.

    Attributes:
        attention: What the model sees.
        settings: How it is decoded.
        shift: By how much a row predicts ahead.
        ends: End tokens, none to decode all.
    """

    attention: Attention
    settings: dict[str, Any]
    shift: int
    ends: tuple[int, ...]


def sdar(options: dict[str, Any]) -> Asked:
    block = options["block_length"]
    strategy = options["remasking_strategy"].removeprefix("low_confidence_")
    quota = block // options["denoising_steps"]
    rule = {"threshold": options["confidence_threshold"], "at_least": quota, "strategy": strategy}
    settings = {"policy": "sdar", "options": rule, "block_length": block}
    ends = tuple(options["stopping_criteria_idx"] or ())
    return Asked(Attention("block-causal", block), settings, 0, ends)


def fast(options: dict[str, Any]) -> Asked:
    settings = {
        "policy": "sdar",
        "options": {"threshold": options.get("threshold", 1)},
        "block_length": options.get("small_block_size", 8),
        "cache": "dual" if options.get("use_block_cache") else "causal",
    }
    ends = (options["stop_token"],) if options["stop_token"] >= 0 else ()
    block = options.get("block_size", 32)
    return Asked(Attention("block-causal", block, carry=True), settings, 1, ends)


def a2d(options: dict[str, Any]) -> Asked:
    block = options["block_size"]
    blocks = -(-options["max_new_tokens"] // block)
    steps = options.get("steps_per_block") or -(-options["steps"] // blocks)
    settings = {
        "policy": "llada",
        "options": {"schedule": "rounded", "block_steps": steps},
        "block_length": block,
    }
    if options.get("cfg_scale"):
        settings |= {"guidance": options["cfg_scale"], "cache": "none"}
    shift = int(options.get("right_shift_logits", False))
    ends = (253,) if options.get("stop_at_eos") else ()
    return Asked(Attention("block-causal", block, "prompt"), settings, shift, ends)


def wedlm(options: dict[str, Any]) -> Asked:
    tau = options["wedlm_entropy_threshold"]
    rule = {"tau": 0.0 if tau is None else tau, "penalty": options["wedlm_pos_penalty_factor"]}
    settings = {"policy": "wedlm", "options": rule, "block_length": options["window"]}
    return Asked(Attention("causal"), settings, 0, tuple(options["stop_token_ids"]))


SPOKEN = {"sdar": sdar, "fast-dllm-v2": fast, "a2d": a2d, "wedlm": wedlm}


@dataclass(frozen=True)
class Row:
    """What the authors' code does with a prompt.

    Attributes:
        prompt: Its ids.
        answer: What follows it, up to an end token.
        wanted: Tokens that are asked for.
        rows: Rows fed, one entry a run.
    """

    prompt: list[int]
    answer: list[int]
    wanted: int
    rows: list[int]


def rows_of(name: str, case: str, ends: tuple[int, ...]) -> Iterator[Row]:
    described = json.loads((folder_of(name) / "decode.json").read_text())["cases"][case]
    data = np.load(folder_of(name) / "decode.npz")
    batches = [number for batch in described.get("batches", ()) for number in batch]
    which = described.get("rows_of_prompts") or batches
    for row, number in list(enumerate(which))[:MOST]:
        prompt = data["prompts"][number][: data["prompts_length"][number]].tolist()
        sequence = data[f"{case}_sequence"][row][: data[f"{case}_length"][row]].tolist()
        # A2D pads on the left, up to a multiple of the block.
        skip = next(at for at in range(64) if sequence[at : at + len(prompt)] == prompt)
        answer = sequence[skip + len(prompt) :]
        options = described["options"]
        block = options.get("block_length", 0)  # SDAR's last block is whole
        most = options.get("gen_length") or options.get("max_tokens") or len(answer)
        wanted = max(len(answer), most + (-(len(prompt) + most) % block if block else 0))
        stop = next((at for at, token in enumerate(answer) if token in ends), len(answer))
        nfe = int(data[f"{case}_nfe"][row])
        yield Row(prompt, answer[:stop], wanted, data[f"{case}_rows"][row][:nfe].tolist())


@pytest.fixture(scope="module")
def opened(exported_family: Callable[[str], Path]) -> Iterator[Opened]:
    """Returns the artifact of a checkpoint and its engine, opened once: name -> both."""
    found: dict[str, tuple[Artifact, Engine]] = {}

    def open_once(name: str) -> tuple[Artifact, Engine]:
        if name not in found:
            artifact = Artifact.open(exported_family(name))
            found[name] = artifact, open_engine(artifact, "auto", threads=1)
        return found[name]

    yield open_once
    for _, engine in found.values():
        engine.close()


def decoded(artifact: Artifact, engine: Engine, asked: Asked, row: Row) -> Result:
    tokens = replace(artifact.manifest.tokens, eos=asked.ends or artifact.manifest.tokens.eos)
    manifest = replace(
        artifact.manifest, attention=asked.attention, prediction_shift=asked.shift, tokens=tokens
    )
    return Decoder(manifest, engine).generate(
        input_ids=row.prompt,
        max_new_tokens=row.wanted,
        stop_at_eos=bool(asked.ends),
        fallback_length=0,
        **asked.settings,
    )


@pytest.mark.parametrize(("name", "case"), TRIED)
def test_answers_are_those_of_the_authors(name: str, case: str, opened: Opened) -> None:
    described = json.loads((folder_of(name) / "decode.json").read_text())["cases"][case]
    family = next(spoken for spoken in SPOKEN if name.startswith(spoken))
    asked = SPOKEN[family](described["options"] | {"stop_at_eos": described.get("stop_at_eos")})
    for row in rows_of(name, case, asked.ends):
        found = decoded(*opened(name), asked, row)
        assert found.tokens.tolist() == row.answer
        if not asked.ends:
            runs, fed = expected_cost(family, asked, row)
            assert found.forwards == runs
            assert fed is None or found.rows_fed == fed


def expected_cost(family: str, asked: Asked, row: Row) -> tuple[int, int | None]:
    """Runs and rows of ours, out of theirs; see the module. None where rows are not comparable."""
    block = asked.attention.block_length or 0
    prompt, runs, fed = len(row.prompt), len(row.rows), sum(row.rows)
    if family == "wedlm":
        return runs - 2, fed - row.rows[-1]
    if family == "fast-dllm-v2":
        # A prompt that ends in a block is fed with the first step of the block.
        return runs - int(prompt > block and prompt % block > 0), fed
    prefill, blocks = int(prompt >= block), -(-len(row.answer) // block)
    if family == "a2d":
        # With guidance they run each step twice, we feed both in one.
        return runs // (2 if asked.settings.get("guidance") else 1) - blocks, None
    blocks = (prompt + len(row.answer)) // block - prompt // block
    # What finishes the last block is not fed at all; each other block is fed with the next one.
    return runs - prefill - blocks, fed - block
