"""`Decoder`: prompts, settings, results and streams."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dawn_runtime import (
    Blocks,
    Dawn,
    Decoder,
    PromptError,
    Threshold,
)
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.manifest import DecodingDefaults
from support.text import TEXT_MANIFEST, TextRecorder


def test_text_messages_and_ids_reach_the_engine(decoder: Decoder, engine: TextRecorder) -> None:
    for prompt in (
        {"prompt": "hi"},
        {"messages": [{"role": "user", "content": "hi"}]},
        {"input_ids": np.array([104, 105])},
    ):
        decoder.generate(**prompt, max_new_tokens=1)
    fed = [decoder._reader.text_tokenizer().decode(i.input_ids[0]) for i in engine.seen]
    assert fed[:2] == ["hi", "<user>hi\n<assistant>"]
    assert engine.seen[2].input_ids.tolist() == [[104, 105, 258]]


def test_result_describes_what_happened(decoder: Decoder) -> None:
    result = decoder.generate(
        "What is 3 + 4?", max_new_tokens=48, policy="threshold", stop_at_eos=False
    )
    assert result.tokens.shape == (48,)
    assert result.tokens.dtype == np.int64
    assert isinstance(result.text, str)
    assert result.policy == "threshold"
    assert result.options == {"threshold": 0.9}
    assert result.fallback is False
    assert result.finish_reason == "length"
    assert result.prompt_tokens == 14
    assert 0 <= result.engine_seconds <= result.seconds
    assert len(result.trace) == 48
    assert result.trace[-1].step == result.forwards - 1
    assert result.tokens_per_forward == 48 / result.forwards
    assert [result.tokens[c.position - 14] for c in result.trace] == [c.token for c in result.trace]


def test_tokens_per_forward_counts_the_tokens_of_the_answer_alone(
    artifact_folder: Path,
) -> None:
    rules: Any = {"max_new_tokens": 32, "policy": "threshold", "options": {"threshold": 0.0}}
    decoder = Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST, end_after(5)))
    result = decoder.generate(input_ids=[1], block_length=16, **rules)
    assert (len(result.tokens), len(result.trace), result.forwards) == (5, 16, 1)
    assert result.tokens_per_forward == 5
    assert result.to_dict()["tokens_per_forward"] == 5
    whole = decoder.generate(input_ids=[1], block_length=16, stop_at_eos=False, **rules)
    assert whole.tokens_per_forward == 32 / whole.forwards
    template = ["ab", 3, "cd", 2]
    filled = decoder.fill(template, policy="threshold", options={"threshold": 0.0})
    assert filled.tokens_per_forward == 5 / filled.forwards, "given tokens are not decided"
    cut = decoder.generate(input_ids=[1], max_new_tokens=9, policy="one-per-step", max_forwards=4)
    assert cut.tokens_per_forward == len(cut.tokens) / 4


def test_result_turns_into_plain_json(decoder: Decoder) -> None:
    document = decoder.generate("x", max_new_tokens=2, policy="one-per-step").to_dict()
    assert document["forwards"] == 2
    assert len(document["trace"]) == 2
    assert all(type(token) is int for token in document["tokens"])


def end_after(count: int) -> Any:
    """A model that says `count` times 'a' and then the end token, whatever it reads."""

    def model(tokens: Any, positions: Any, *_: Any) -> tuple[Any, Any]:
        logits = np.zeros((len(tokens), 259), dtype=np.float32)
        logits[np.arange(len(tokens)), np.where(positions < 1 + count, 65, 257)] = 30
        return logits, np.full((len(tokens), len(tokens)), 1 / len(tokens), dtype=np.float32)

    return model


def test_answer_is_cut_before_the_first_end_token(artifact_folder: Path) -> None:
    engine = FakeEngine(TEXT_MANIFEST, end_after(5))
    decoder = Decoder.open(artifact_folder, engine=engine)
    result = decoder.generate("?", max_new_tokens=64, block_length=8, policy="threshold")
    assert result.tokens.tolist() == [65] * 5
    assert (result.finish_reason, result.forwards) == ("end", 1)
    whole = decoder.generate("?", max_new_tokens=64, block_length=8, stop_at_eos=False)
    assert whole.tokens.tolist() == [65] * 5 + [257] * 59
    assert (whole.finish_reason, whole.forwards) == ("length", 8)


def test_default_length_is_what_the_context_has_room_for(decoder: Decoder) -> None:
    long = decoder.generate(input_ids=[1] * 200, policy="threshold", stop_at_eos=False)
    assert len(long.tokens) == 56


def test_defaults_come_from_the_manifest(engine: TextRecorder) -> None:
    defaults = DecodingDefaults("dawn", {"tau_edge": 0.05}, block_length=7, fallback_length=4)
    decoder = Decoder(replace(TEXT_MANIFEST, decoding=defaults), engine)
    result = decoder.generate(input_ids=[1], max_new_tokens=14, stop_at_eos=False)
    assert (result.policy, result.options["tau_edge"]) == ("dawn", 0.05)
    first = {c.position for c in result.trace if c.step == 0}
    assert max(first) < 8
    overridden = decoder.generate(input_ids=[1], max_new_tokens=5, options={"tau_low": 0.5})
    assert (overridden.options["tau_edge"], overridden.options["tau_low"]) == (0.05, 0.5)
    named = decoder.generate(input_ids=[1], max_new_tokens=5, policy="threshold")
    assert named.options == {"threshold": 0.9}


def test_policy_and_window_objects_are_used_as_they_are(decoder: Decoder) -> None:
    by_name, by_object = (
        decoder.generate(input_ids=[1], max_new_tokens=40, stop_at_eos=False, **rules)
        for rules in (
            {"policy": "dawn", "options": {"tau_low": 0.3}, "block_length": 9},
            {"policy": Dawn(tau_low=0.3), "window": Blocks(9)},
        )
    )
    assert by_name.trace == by_object.trace
    assert by_name.options == by_object.options


@pytest.mark.parametrize(("new", "fallback"), [(31, True), (32, False)])
def test_short_answers_fall_back_and_ask_for_no_evidence(
    new: int, fallback: bool, decoder: Decoder, engine: TextRecorder
) -> None:
    result = decoder.generate("hi", max_new_tokens=new, policy=Dawn(tau_high=0.8))
    assert result.fallback is fallback
    assert {i.attention_rows.shape[1] for i in engine.seen} == ({0} if fallback else {34})
    if fallback:
        plain = decoder.generate("hi", max_new_tokens=new, policy=Threshold(0.8))
        assert (result.policy, result.options) == ("threshold", {"threshold": 0.8})
        assert result.trace == plain.trace
        assert plain.fallback is False


def test_fallback_can_be_switched_off(decoder: Decoder) -> None:
    result = decoder.generate("hi", max_new_tokens=3, policy="dawn", fallback_length=0)
    assert (result.policy, result.fallback) == ("dawn", False)


def test_greedy_decoding_never_fetches_logits_or_keys(
    decoder: Decoder, engine: TextRecorder
) -> None:
    decoder.generate("hi", max_new_tokens=40, policy="dawn")
    assert not any(inputs.want_logits or inputs.want_present for inputs in engine.seen)


def test_batch_gives_what_single_calls_give(decoder: Decoder) -> None:
    prompts: list[Any] = ["short", [1, 2, 3, 4, 5, 6], [{"role": "user", "content": "hi"}]]
    settings: Any = {"max_new_tokens": 40, "policy": "dawn", "options": {"tau_low": 0.3}}
    together = decoder.generate_batch(prompts, **settings)
    for result, prompt in zip(together, prompts, strict=True):
        alone = decoder.generate(prompt, **settings)
        assert result.trace == alone.trace
        assert (result.text, result.forwards) == (alone.text, alone.forwards)


def test_stream_gives_out_the_answer_from_the_left(decoder: Decoder) -> None:
    expected = decoder.generate("hello", max_new_tokens=64, policy="threshold", stop_at_eos=False)
    stream = decoder.stream("hello", max_new_tokens=64, policy="threshold", stop_at_eos=False)
    pieces = list(stream)
    assert len(pieces) > 1
    assert "".join(pieces) == expected.text == stream.result.text
    assert stream.result.trace == expected.trace


def test_result_of_a_stream_finishes_what_was_not_read(decoder: Decoder) -> None:
    stream = decoder.stream("hello", max_new_tokens=40, policy="one-per-step", stop_at_eos=False)
    next(stream)
    assert len(stream.result.tokens) == 40


def test_artifact_without_tokenizer_decodes_ids_only(fake_decoder: Decoder) -> None:
    result = fake_decoder.generate(input_ids=[1, 2], max_new_tokens=3)
    assert result.to_dict()["text"] is None
    with pytest.raises(PromptError, match=r"has no tokenizer, so its answers have no text; take"):
        _ = result.text
    for attempt in (
        lambda: fake_decoder.generate("hello"),
        lambda: fake_decoder.generate(messages=[{"role": "user", "content": "hello"}]),
        lambda: fake_decoder.stream(input_ids=[1]),
    ):
        with pytest.raises(PromptError, match=r"this artifact has no tokenizer, .* give input_ids"):
            attempt()


def test_encode_gives_the_ids_that_are_decoded(decoder: Decoder, engine: TextRecorder) -> None:
    ids = decoder.encode([{"role": "user", "content": "hi"}])
    decoder.generate(messages=[{"role": "user", "content": "hi"}], max_new_tokens=1)
    assert engine.seen[0].input_ids[0].tolist() == [*ids.tolist(), 258]
    with pytest.raises(PromptError, match="ask for at most 254 new tokens"):
        decoder.encode([1, 2], max_new_tokens=255)
