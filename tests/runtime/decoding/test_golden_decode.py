"""Token for token what the published torch reference decodes, without torch and ONNX.

The model is a plain NumPy transformer, so this file checks policies, windows, packing and the loop
alone; `support.golden` describes the data.
"""

from dataclasses import replace

import numpy as np
import pytest

from dawn_models import family_named
from dawn_runtime import Decoder, Result
from dawn_runtime.engine import StepInputs
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.manifest import DecodingDefaults, SpecialTokens
from support.golden import CASES, GOLDEN, NumpyEngine, decode_case, golden_case


@pytest.mark.parametrize("family", ["dream", "llada"])
def test_numpy_model_agrees_with_the_reference_forward(family: str) -> None:
    golden = np.load(GOLDEN / f"{family}-random" / "forward.npz")
    ids = golden["input_ids"]
    batch, length = ids.shape
    every = np.broadcast_to(np.arange(length), (batch, length))
    mask = np.ones((batch, 1, length, length), dtype=bool)
    found = NumpyEngine(family).run(StepInputs(ids, every, mask, every, every))
    assert np.abs(found.logits - golden["logits"]).max() < 1e-3
    assert np.abs(found.attention - golden["attention"]).max() < 1e-5


def decode(family: str, case: str) -> list[Result]:
    shift = 1 if family == "dream" else 0
    manifest = replace(
        fake_manifest(vocab_size=256, max_length=2048, prediction_shift=shift),
        tokens=SpecialTokens(mask=254, eos=(253,), pad=253),
        decoding=DecodingDefaults("dawn", family_named(family).dawn_options),
    )
    return decode_case(Decoder(manifest, NumpyEngine(family)), family, case)


@pytest.mark.parametrize(
    ("family", "case"), [(family, case) for family in CASES for case in CASES[family]]
)
def test_decoding_equals_the_published_reference_token_for_token(family: str, case: str) -> None:
    tokens, forwards = golden_case(family, case)
    results = decode(family, case)
    np.testing.assert_array_equal(np.stack([result.tokens for result in results]), tokens)
    assert [result.forwards for result in results] == forwards
