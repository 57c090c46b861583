"""`Decoder`: the errors a caller can make, told before the engine runs."""

from pathlib import Path
from typing import Any

import pytest

from dawn_runtime import ArtifactError, Decoder, EngineError, OptionError, PromptError
from dawn_runtime.engine.fake import fake_manifest
from support.text import TEXT_MANIFEST, TextRecorder


def test_messages_without_a_template_say_what_to_do(decoder: Decoder, engine: TextRecorder) -> None:
    bare = Decoder(TEXT_MANIFEST, engine, tokenizer=decoder._reader.tokenizer)
    with pytest.raises(PromptError, match="this artifact has no chat template"):
        bare.generate(messages=[{"role": "user", "content": "hello"}])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({}, "got 0 prompts; give exactly one of prompt, messages and input_ids"),
        ({"prompt": "a", "input_ids": [1]}, "got 2 prompts"),
        ({"prompt": ""}, "the prompt is empty"),
        ({"input_ids": []}, "the prompt is empty"),
        ({"messages": []}, "the prompt is empty"),
        ({"input_ids": [259]}, "the prompt holds id 259; expected ids from 0 to 258"),
        ({"input_ids": [1, -1]}, "the prompt holds id -1"),
        ({"input_ids": [1.5]}, r"input_ids are float64 of shape \(1,\); expected a list of int"),
        ({"input_ids": [[1, 2]]}, r"input_ids are int64 of shape \(1, 2\)"),
        ({"prompt": "a<|mask|>b"}, r"the prompt holds the mask token \(id 258\)"),
        (
            {"input_ids": [1] * 200, "max_new_tokens": 57},
            "200 tokens and 57 new ones exceed the context of 256; ask for at most 56",
        ),
        ({"input_ids": [1] * 256}, "has 256 tokens and leaves no room .* at most 255"),
    ],
)
def test_prompt_that_cannot_be_decoded_is_refused(
    arguments: dict[str, Any], message: str, decoder: Decoder, engine: TextRecorder
) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        decoder.generate(**arguments)
    assert "\n" not in str(caught.value)
    assert not engine.seen


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"max_new_tokens": 0}, "max_new_tokens is 0; expected an integer >= 1"),
        ({"max_new_tokens": -5}, "max_new_tokens is -5"),
        ({"max_new_tokens": 1.5}, "max_new_tokens is 1.5"),
        ({"block_length": 0}, "block_length is 0"),
        (
            {"block_length": 8, "window": "single"},
            "which goes with a named window of blocks; got window 'single'",
        ),
        ({"fallback_length": -1}, "fallback_length is -1"),
        ({"policy": "dwan"}, "unknown policy: 'dwan'; did you mean 'dawn'"),
        ({"policy": "threshold", "options": {"tau": 1}}, "unknown option of policy 'threshold'"),
        ({"options": {"treshold": 1}}, "did you mean 'threshold'"),
        ({"window": "slidng"}, "unknown window: 'slidng'; did you mean 'sliding'"),
        ({"window": "pruned:near=-1"}, "window 'pruned': near is -1; expected an integer >= 0"),
        ({"window": "sliding:reach=far"}, "reach is 'far'; use one of fixed, growing"),
        ({"window": "sliding:block_length=8", "block_length": 9}, "block_length is 9, which goes"),
        ({"cache": "prefx"}, "unknown cache: 'prefx'; did you mean 'prefix'"),
        ({"cache": "dual:often=2"}, "unknown option of cache 'dual': 'often'; known: refresh"),
        ({"cache": "dual:refresh"}, "cache option 'refresh' is not KEY=VALUE"),
        ({"cache": "dual:refresh=0"}, "refresh is 0; expected an integer >= 1"),
        (
            {"cache": "dual:refresh=often"},
            "use block, never, drift or a number of commits: refresh is",
        ),
        ({"temprature": 1}, "unknown setting: 'temprature'; did you mean 'temperature'"),
    ],
)
def test_bad_setting_is_refused_before_the_engine_runs(
    settings: dict[str, Any], message: str, decoder: Decoder, engine: TextRecorder
) -> None:
    for call in (decoder.generate, decoder.stream):
        with pytest.raises(OptionError, match=message):
            call("hi", **settings)
    with pytest.raises(OptionError, match=message):
        decoder.generate_batch(["hi"], **settings)
    assert not engine.seen


def test_batch_needs_a_list_of_prompts(decoder: Decoder) -> None:
    for prompts in ([], "text"):
        with pytest.raises(PromptError, match="needs a list of at least one prompt"):
            decoder.generate_batch(prompts)  # type: ignore[arg-type]


def test_bad_prompt_of_a_batch_is_named_by_its_number(decoder: Decoder) -> None:
    with pytest.raises(PromptError, match=r"prompts\[1\]: the prompt is empty"):
        decoder.generate_batch(["a", "", "b"])


def test_engine_of_another_model_is_refused(engine: TextRecorder) -> None:
    with pytest.raises(EngineError, match="vocabulary of 259 and the manifest one of 64"):
        Decoder(fake_manifest(), engine)


def test_engine_object_stays_open_and_takes_no_threads(
    artifact_folder: Path, engine: TextRecorder
) -> None:
    with Decoder.open(artifact_folder, engine=engine):
        pass
    assert engine.closed == 0
    with pytest.raises(OptionError, match="threads, low_memory and cuda_graphs go with an eng"):
        Decoder.open(artifact_folder, engine=engine, threads=2)


def test_engine_opened_by_name_is_closed_with_the_decoder(
    artifact_folder: Path, engine: TextRecorder, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("dawn_runtime.decoder.open_engine", lambda *_, **__: engine)
    with Decoder.open(artifact_folder, threads=1):
        assert engine.closed == 0
    assert engine.closed == 1


def test_altered_artifact_does_not_open(artifact_folder: Path) -> None:
    (artifact_folder / "model.onnx").write_bytes(b"ONNX")
    with pytest.raises(ArtifactError, match="SHA-256"):
        Decoder.open(artifact_folder)
