"""Filling: any mixture of given and open positions, given ones untouched."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Decoder, Filling, OptionError, PromptError
from dawn_runtime.decoding import (
    Blocks,
    Dual,
    NoCache,
    Pruned,
    RowState,
    Single,
    Sliding,
    Unmask,
    Window,
)
from dawn_runtime.engine.fake import FakeEngine, fake_manifest
from support.caching import Recorder, same_decisions
from support.decoding import MASK, POLICIES, batch_of, finished
from support.text import TEXT_MANIFEST


@pytest.fixture
def decoder(artifact_folder: Path) -> Decoder:
    return Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST))


def test_holes_between_text_are_filled_and_the_text_stays(decoder: Decoder) -> None:
    result = decoder.fill(['{"name": "', 6, '", "age": ', 2, "}"], policy="threshold")
    assert len(result.tokens) == 10 + 6 + 10 + 2 + 1
    name, age = result.holes
    assert (name.begin, age.begin) == (10, 26)
    assert name.tokens.tolist() == result.tokens[10:16].tolist()
    assert age.tokens.tolist() == result.tokens[26:28].tolist()
    assert result.text == f'{{"name": "{name.text}", "age": {age.text}}}'
    assert {commit.position for commit in result.trace} == {*range(10, 16), 26, 27}
    assert (result.prompt_tokens, result.finish_reason) == (0, "length")


def test_a_prompt_precedes_the_template_and_is_not_part_of_the_result(decoder: Decoder) -> None:
    messages = [{"role": "user", "content": "hi"}]
    result = decoder.fill(["[", 3, "]"], prompt=messages, policy="one-per-step")
    assert result.prompt_tokens == len("<user>hi\n<assistant>")
    assert len(result.tokens) == 5
    assert (result.holes[0].begin, len(result.holes[0].tokens)) == (1, 3)
    encode = decoder._reader.text_tokenizer().encode
    whole = np.concatenate([encode("<user>hi\n<assistant>["), [258] * 3, encode("]")])
    by_ids = decoder.fill(input_ids=whole, policy="one-per-step")
    assert by_ids.tokens[-5:].tolist() == result.tokens.tolist()
    assert by_ids.to_dict()["holes"][0]["tokens"] == result.holes[0].tokens.tolist()


def test_a_hole_at_the_end_is_plain_generation(decoder: Decoder) -> None:
    filled = decoder.fill([20], prompt="hello", policy="threshold", block_length=8)
    plain = decoder.generate(
        "hello", max_new_tokens=20, policy="threshold", block_length=8, stop_at_eos=False
    )
    assert filled.trace == plain.trace
    assert filled.tokens.tolist() == plain.tokens.tolist()


def test_templates_are_filled_in_batches_beside_prompts(decoder: Decoder) -> None:
    template: Any = ["[", 3, ", ", 2, "]"]
    rules: Any = {"policy": "threshold", "cache": "dual", "block_length": 4}
    filling = Filling(template, "hello")
    together = decoder.generate_batch(["hi", filling, Filling(input_ids=[1, 258])], **rules)
    assert together[1].trace == decoder.fill(template, prompt="hello", **rules).trace
    assert together[1].holes[0].tokens.tolist() == together[1].tokens[1:4].tolist()
    assert [len(result.holes) for result in together] == [0, 2, 1]
    assert together[0].trace == decoder.generate("hi", **rules).trace


def test_filling_is_streamed_and_watched(decoder: Decoder) -> None:
    filling = Filling(["[", 3, ", ", 2, "]"], "hello")
    whole = decoder.fill(filling.template, prompt="hello", policy="one-per-step")
    stream = decoder.stream(filling, policy="one-per-step")
    assert "".join(stream) == whole.text == stream.result.text
    watched = decoder.watch(filling, policy="one-per-step")
    assert tuple(commit for step in watched for commit in step) == whole.trace
    assert len(watched.result.holes) == 2


def test_ids_of_a_template_have_the_mask_in_its_holes(decoder: Decoder) -> None:
    filling = Filling(["a", 2], [7])
    assert decoder.encode(filling).tolist() == [7, ord("a") - 33, 258, 258]
    with pytest.raises(OptionError, match="fill takes no max_new_tokens: every hole is decided"):
        decoder.encode(filling, max_new_tokens=5)


def test_an_end_token_in_a_hole_ends_nothing(artifact_folder: Path) -> None:
    def model(tokens: Any, positions: Any, key_tokens: Any, *_: Any) -> Any:
        logits = np.zeros((len(tokens), 259), dtype=np.float32)
        logits[:, 257] = 20  # the end token, everywhere
        return logits, np.full((len(tokens), len(key_tokens)), 0.1, dtype=np.float32)

    decoder = Decoder.open(artifact_folder, engine=FakeEngine(TEXT_MANIFEST, model))
    result = decoder.fill(["a", 2, "b", 2, "c"], block_length=2)
    assert np.flatnonzero(result.tokens == 257).tolist() == [1, 2, 4, 5]
    assert result.text == "abc"


def test_the_first_token_may_be_open_unless_it_is_predicted_from_the_one_before() -> None:
    manifest = fake_manifest()
    decoder = Decoder(manifest, FakeEngine(manifest))
    assert decoder.fill(input_ids=[63, 5]).tokens[1] == 5
    shifted = fake_manifest(prediction_shift=1)
    with pytest.raises(PromptError, match="begins with a hole, but this model predicts each"):
        Decoder(shifted, FakeEngine(shifted)).fill(input_ids=[63, 5])


@pytest.mark.parametrize("window", [Blocks(4), Single(), Sliding(4), Pruned(4, near=2)], ids=str)
@pytest.mark.parametrize("shift", [0, 1])
@given(
    ids=st.lists(st.sampled_from([1, 2, 3, MASK, MASK]), min_size=1, max_size=24),
    policy=st.sampled_from(POLICIES),
)
@settings(max_examples=12)
def test_given_tokens_never_change_and_all_others_are_decided(
    window: Window, shift: int, ids: list[int], policy: Any
) -> None:
    template = np.array([7, *ids, MASK])
    rows = {}
    for cache in (NoCache(), Dual("never")):
        row = RowState.fill(template.copy(), 0, MASK, shift=shift)
        batch = batch_of(Recorder(), [row], Unmask(policy, window, cache))
        rows[cache.name] = finished(batch).row(0)
    done = rows["none"]
    is_given = template != MASK
    np.testing.assert_array_equal(done.ids[is_given], template[is_given])
    np.testing.assert_array_equal(done.commit_step >= 0, ~is_given)
    assert not done.masked.any()
    assert [list(range(*span)) for span in done.holes()] == runs(np.flatnonzero(~is_given))
    if policy.name in ("threshold", "one-per-step", "factor", "local-leap"):
        assert same_decisions(done, rows["dual"])


def runs(positions: np.ndarray) -> list[list[int]]:
    """Splits ascending positions where one is missing."""
    return [
        part.tolist() for part in np.split(positions, np.flatnonzero(np.diff(positions) > 1) + 1)
    ]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "give fill either a template, perhaps with a prompt, or input_ids"),
        ({"template": ["a", 1], "input_ids": [1]}, "give fill either a template"),
        ({"input_ids": [258], "prompt": "a"}, "give fill either a template"),
        ({"template": "a[[2]]"}, "the template is one text; give a list of texts and hole lengths"),
        ({"template": ["a"]}, "nothing is left to fill; a template needs a hole"),
        ({"template": []}, "the prompt is empty"),
        ({"template": ["a", 0]}, "the template holds 0; expected texts and lengths of holes >= 1"),
        ({"template": ["a", 1.5]}, "the template holds 1.5"),
        ({"template": ["a", True]}, "the template holds True"),
        ({"template": ["a<|mask|>", 1]}, "the prompt holds the mask token"),
        ({"template": ["a", 256]}, "have 257 tokens and exceed the context of 256"),
        ({"input_ids": [1, 999, 258]}, "the prompt holds id 999"),
    ],
)
def test_template_that_cannot_be_filled_is_refused(
    arguments: dict[str, Any], message: str, decoder: Decoder
) -> None:
    with pytest.raises(PromptError, match=message):
        decoder.fill(**arguments)


@pytest.mark.parametrize("setting", [{"max_new_tokens": 3}, {"stop_at_eos": True}])
def test_settings_about_the_length_do_not_apply(setting: Any, decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=f"fill takes no {next(iter(setting))}"):
        decoder.fill(["a", 1], **setting)
