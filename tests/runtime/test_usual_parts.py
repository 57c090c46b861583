"""The window and the cache that go with a policy where none is named."""

from typing import Any

import numpy as np
import pytest

from dawn_runtime import Blocks, Decoder, NoCache, Prefix, Pruned, Single, Unmask
from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from dawn_runtime.manifest import DecodingDefaults
from dawn_runtime.policies import POLICIES, Streaming
from dawn_runtime.settings import make_plan

DEFAULTS = DecodingDefaults("threshold", {}, block_length=8)


def parts(**settings: Any) -> tuple[Any, Any]:
    scheme = make_plan(settings, DEFAULTS).scheme
    assert isinstance(scheme, Unmask)
    return scheme.window, scheme.cache


def test_streaming_is_whole_by_its_name() -> None:
    expected = (Pruned(8), Prefix(lead="needed"))
    assert parts(policy="streaming") == expected
    assert parts(policy=Streaming()) == expected


def test_a_window_or_cache_that_is_named_is_taken() -> None:
    assert parts(policy="streaming", window="pruned:near=4", cache="none") == (
        Pruned(8, 4),
        NoCache(),
    )
    assert parts(policy="streaming", block_length=4) == (Pruned(4), Prefix(lead="needed"))
    assert parts(policy="conv") == (Single(), NoCache())
    assert parts(policy="conv", block_length=4) == (Blocks(4), NoCache())
    assert parts(policy="threshold") == (Blocks(8), NoCache())


def test_what_goes_with_a_policy_can_be_made() -> None:
    for name in POLICIES.names():
        rule = POLICIES.class_of(name)
        WINDOWS.parse(rule.usual_window)
        CACHES.parse(rule.usual_cache)


@pytest.mark.parametrize("cache", ["prefix", "dual"])
def test_the_token_before_a_window_is_fed_only_while_it_is_needed(cache: str) -> None:
    """For a model that predicts the next token; else there is none to be fed."""
    for shift in (0, 1):
        manifest = fake_manifest(prediction_shift=shift)
        decoder = Decoder(manifest, FakeEngine(manifest))
        settings: dict[str, Any] = {"max_new_tokens": 24, "stop_at_eos": False, "block_length": 8}
        settings |= {"input_ids": np.arange(1, 9), "policy": "one-per-step"}
        always = decoder.generate(cache=cache, **settings)
        needed = decoder.generate(cache=f"{cache}:lead=needed", **settings)
        assert always.forwards == needed.forwards == 24
        if shift:
            assert always.rows_fed - 21 <= needed.rows_fed < always.rows_fed
        else:
            assert needed.rows_fed == always.rows_fed
            assert needed.tokens.tolist() == always.tokens.tolist()
