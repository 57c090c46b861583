"""Decoding on the fake engine: rows to begin with, runs to the end, rows to compare."""

from dataclasses import replace

import numpy as np

from dawn_runtime import (
    Blocks,
    Dapd,
    Dawn,
    Factor,
    Klass,
    LocalLeap,
    NoCache,
    OnePerStep,
    Policy,
    Threshold,
)
from dawn_runtime.decoding import DecodeState, Packer, Padding, RowState, Rules, Window, decode
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest

MANIFEST = fake_manifest(vocab_size=32, max_length=96)
END, MASK = MANIFEST.tokens.eos[0], MANIFEST.tokens.mask
DAWN = Dawn(tau_sink=0.5, tau_edge=0.03, tau_induce=0.3, tau_low=0.2)
SCALED = replace(DAWN, reference_length=16, length_exponent=0.5)
KLASS = Klass(threshold=0.2, kl_threshold=8.0)
POLICIES = [
    *(OnePerStep(), Threshold(0.6), Factor(2.0), LocalLeap(0.7, 0.3), KLASS),
    *(DAWN, SCALED, Dapd(tau_max=0.8), Dapd("direct", tau_certain=0.9)),
]


def packer(shift: int = 0, padding: Padding = "right") -> Packer:
    return Packer(prediction_shift=shift, mask_id=MASK, filler_id=0, padding=padding)


def begin(
    prompts: list[list[int]], new: int | list[int], policy: Policy, window: Window, *, end: bool
) -> DecodeState:
    counts = [new] * len(prompts) if isinstance(new, int) else new
    rows = tuple(
        RowState.begin(np.array(prompt), count, MASK, (END,) if end else ())
        for prompt, count in zip(prompts, counts, strict=True)
    )
    return DecodeState(rows, (Rules(policy, window, NoCache()),) * len(rows))


def run(
    prompts: list[list[int]],
    new: int | list[int],
    policy: Policy,
    window: Window | None = None,
    *,
    end: bool = False,
    shift: int = 0,
    seed: int = 0,
) -> DecodeState:
    """Decodes to the end on the hash model."""
    state = begin(prompts, new, policy, window or Blocks(8), end=end)
    engine = FakeEngine(MANIFEST, HashModel(32, seed))
    for last in decode(engine, packer(shift), state):
        state = last
    return state


def same_row(left: RowState, right: RowState) -> bool:
    arrays = ("ids", "masked", "commit_step", "commit_confidence")
    return left.step == right.step and all(
        np.array_equal(getattr(left, name), getattr(right, name), equal_nan=name[0] == "c")
        for name in arrays
    )
