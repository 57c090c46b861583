"""Answers of the fake engine with their traces, of rules to which different things happen."""

from dataclasses import replace
from typing import Any

from dawn_runtime import Decoder, Result
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.traces import trace_document
from support.decoding import DAWN

MANIFEST = replace(fake_manifest(vocab_size=32, max_length=2048), prediction_shift=0)
CASES: dict[str, dict[str, Any]] = {
    "dawn": {"policy": replace(DAWN, tau_sink=0.03)},
    "guarded": {"policy": "threshold", "options": {"threshold": 0.2}, "guard": "budget:nats=1"},
    "wino": {"policy": "wino", "options": {"threshold": 0.01, "revoke_threshold": 0.5}},
    "verify": {"policy": "verify"},
}


def traced(new: int = 40, **settings: Any) -> tuple[Result, dict[str, Any]]:
    decoder = Decoder(MANIFEST, FakeEngine(MANIFEST))
    result = decoder.generate(input_ids=[1, 2, 3], max_new_tokens=new, record=True, **settings)
    return result, trace_document(decoder, decoder.encode([1, 2, 3]), result)
