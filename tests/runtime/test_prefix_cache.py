"""A decoder of a causal model holds keys of finished texts, within the bytes it was given."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from dawn_runtime import Decoder, OptionError
from dawn_runtime.engine.fake import FakeEngine, HashModel, fake_manifest
from dawn_runtime.manifest import Attention

CAUSAL = Attention("causal")
PROMPT = list(range(1, 13))


def decoder(attention: Attention, prefix_bytes: int) -> Decoder:
    manifest = replace(fake_manifest(vocab_size=32, max_length=96), attention=attention)
    return Decoder(manifest, FakeEngine(manifest, HashModel(32, 4)), prefix_bytes=prefix_bytes)


def generate(made: Decoder, ids: list[int], **settings: Any) -> Any:
    return made.generate(input_ids=ids, max_new_tokens=8, stop_at_eos=False, **settings)


def test_the_second_answer_begins_with_the_prompt_of_the_first() -> None:
    made, plain = decoder(CAUSAL, 10**6), decoder(CAUSAL, 0)
    first, second, alone = generate(made, PROMPT), generate(made, PROMPT), generate(plain, PROMPT)
    assert (first.reused_tokens, second.reused_tokens, alone.reused_tokens) == (0, 12, 0)
    assert second.rows_fed == alone.rows_fed - 12
    np.testing.assert_array_equal(second.tokens, alone.tokens)
    assert second.to_dict()["reused_tokens"] == 12
    assert made.prefixes.reuse.tokens == 12
    made.prefixes.clear()
    assert generate(made, PROMPT).reused_tokens == 0


def test_rows_of_one_call_and_of_an_open_batch_share_their_beginning() -> None:
    made = decoder(CAUSAL, 10**6)
    prompts = [[*PROMPT, last] for last in (20, 21, 22)]
    batched = made.generate_batch(prompts, max_new_tokens=8, stop_at_eos=False)
    assert [result.reused_tokens for result in batched] == [0, 12, 12]
    with made.batch(max_rows=2, max_tokens=200) as batch:
        key = batch.admit(input_ids=[*PROMPT, 23], max_new_tokens=4)
        while not batch.finished(key):
            batch.step()
        assert batch.leave(key).reused_tokens == 12


def test_a_model_that_looks_ahead_holds_nothing() -> None:
    made = decoder(Attention(), 10**6)
    assert [generate(made, PROMPT).reused_tokens for _ in range(2)] == [0, 0]
    assert made.prefixes.reuse.lookups == 0


def test_no_more_bytes_are_held_than_were_given() -> None:
    made = decoder(CAUSAL, 400)
    for first in range(1, 9):
        generate(made, [first, *PROMPT])
        assert made.prefixes.reuse.nbytes <= 400
    with pytest.raises(OptionError, match="max_bytes is -1"):
        decoder(CAUSAL, -1)


@pytest.mark.parametrize("policy", ["autoregressive", "threshold"])
def test_every_scheme_of_causal_text_reads_what_another_left(policy: str) -> None:
    attention = Attention("causal", 4, "prompt", carry=True)
    made = decoder(attention, 10**6)
    generate(made, PROMPT, policy=policy)
    found = generate(made, PROMPT, policy="linear-speculation")
    assert found.reused_tokens == 11
    alone = generate(decoder(attention, 0), PROMPT, policy="autoregressive")
    np.testing.assert_array_equal(found.tokens, alone.tokens)
