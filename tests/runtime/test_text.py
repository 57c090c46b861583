"""Tokenizer, pieces of streamed text, and chat templates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dawn_runtime import Artifact, ArtifactError, OptionError, PromptError
from dawn_runtime.chat import ChatTemplate
from dawn_runtime.tokenizer import TextPieces, Tokenizer

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def tokenizer(tokenizer_json: Path) -> Tokenizer:
    return Tokenizer(tokenizer_json)


def test_text_survives_encoding_and_decoding(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("naïve 日本 🙂")
    assert ids.dtype == np.int64
    assert len(ids) == len("naïve 日本 🙂".encode())
    assert tokenizer.decode(ids) == "naïve 日本 🙂"


def test_special_tokens_in_text_are_recognised_and_left_out_of_text(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a<|mask|>b")
    assert ids.tolist()[1] == 258
    assert tokenizer.decode(ids) == "ab"


def test_file_that_is_no_tokenizer_is_named(tmp_path: Path) -> None:
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a tokenizer"):
        Tokenizer(tmp_path / "tokenizer.json")


PANICKING = {"type": "Precompiled", "precompiled_charsmap": "AAAA"}


@pytest.mark.parametrize("change", [{"normalizer": PANICKING}, {"model": {"type": "BPE"}}])
def test_a_tokenizer_that_makes_the_library_panic_is_one_line(
    change: dict[str, Any], tokenizer_json: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    document = {**json.loads(tokenizer_json.read_text()), **change}
    (tmp_path / "tokenizer.json").write_text(json.dumps(document))
    with pytest.raises(ArtifactError, match=r"tokenizer\.json: not a tokenizer \(.*\); export ag"):
        Tokenizer(tmp_path / "tokenizer.json")
    assert capfd.readouterr().err == ""


class Panicking:
    """A library whose native code panics: what it raises is no Exception."""

    class Panic(BaseException):
        pass

    def encode(self, *_: object, **__: object) -> None:
        raise Panicking.Panic("retry-limit-in-match\nover")

    decode = encode


def test_a_panic_while_encoding_is_a_prompt_error(tokenizer_json: Path) -> None:
    broken = Tokenizer(tokenizer_json)
    broken._tokenizer = Panicking()
    with pytest.raises(PromptError, match=r"cannot be encoded: retry-limit-in-match over$"):
        broken.encode("a")
    with pytest.raises(PromptError, match="ids cannot be decoded: retry-limit"):
        broken.decode(np.array([1]))


def test_special_tokens_are_split_where_the_configuration_says_so(artifact_folder: Path) -> None:
    open_with(artifact_folder, config='{"split_special_tokens": true}')
    split = Tokenizer.from_artifact(Artifact.open(artifact_folder, verify="sizes"))
    assert split is not None
    assert split.decode(split.encode("<|mask|>")) == "<|mask|>"
    assert len(split.encode("<|mask|>")) == len("<|mask|>")
    open_with(artifact_folder, config='{"split_special_tokens": "yes"}')
    odd = Artifact.open(artifact_folder, verify="sizes")
    with pytest.raises(ArtifactError, match="field 'split_special_tokens' is 'yes'; expected tru"):
        Tokenizer.from_artifact(odd)


@given(text=st.text(max_size=20), data=st.data())
@settings(max_examples=100)
def test_pieces_are_whole_characters_and_add_up(
    text: str, data: st.DataObject, tokenizer: Tokenizer
) -> None:
    ids = tokenizer.encode(text)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(ids)), max_size=6)))
    pieces = TextPieces(tokenizer.decode)
    given_out = [pieces.push(ids[:cut]) for cut in cuts]
    for piece in given_out:
        assert "\N{REPLACEMENT CHARACTER}" not in piece or piece in text
    assert "".join([*given_out, pieces.push(ids, final=True)]) == tokenizer.decode(ids)


def test_character_is_held_back_until_its_last_byte(tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode("a🙂b")
    pieces = TextPieces(tokenizer.decode)
    assert [pieces.push(ids[:n]) for n in range(1, 7)] == ["a", "", "", "", "🙂", "b"]


def test_bytes_that_never_become_a_character_come_out_at_the_end(tokenizer: Tokenizer) -> None:
    broken = tokenizer.encode("é")[:1]
    pieces = TextPieces(tokenizer.decode)
    assert pieces.push(broken) == ""
    assert pieces.push(broken, final=True) == "\N{REPLACEMENT CHARACTER}"


def render(source: str, messages: list[dict[str, Any]] = HELLO, **tokens: str) -> str:
    return ChatTemplate(source, tokens).render(messages)


CHATML = """{%- for message in messages %}
    {%- if loop.first and message.role != 'system' %}
        {{- '<|im_start|>system\\nYou are helpful.<|im_end|>\\n' }}
    {%- endif %}
    {{- '<|im_start|>' + message.role + '\\n' + message.content + '<|im_end|>' + '\\n' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|im_start|>assistant\\n' }}
{%- endif %}
"""


def test_chatml_renders_as_the_reference_tokenizer_does() -> None:
    assert render(CHATML) == (
        "<|im_start|>system\nYou are helpful.<|im_end|>\n"
        "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    )


def test_blocks_leave_no_blank_lines_behind() -> None:
    assert render("{% for m in messages %}\n  {{ m.content }}\n{% endfor %}\n") == "  Hello\n"


def test_special_tokens_and_json_are_at_hand() -> None:
    template = "{{ bos_token }}{{ messages[0] | tojson }}{{ tools is none }}"
    assert render(template, [{"role": "user", "content": "<é>"}], bos_token="<s>") == (
        '<s>{"role": "user", "content": "<é>"}True'
    )


def test_tools_and_a_wish_for_reasoning_reach_the_template_where_they_are_given() -> None:
    template = ChatTemplate(
        "{{ tools | tojson }}{{ enable_thinking if enable_thinking is defined else '-' }}", {}
    )
    assert template.render(HELLO) == "null-"
    assert template.render(HELLO, tools=iter([{"name": "é"}])) == '[{"name": "é"}]-'
    assert template.render(HELLO, enable_thinking=False) == "nullFalse"
    with pytest.raises(PromptError, match=r"tools\[0\] is 'add'; expected a list of objects"):
        template.render(HELLO, tools=["add"])  # type: ignore[list-item]
    with pytest.raises(PromptError, match=r"tools hold <object object"):
        template.render(HELLO, tools=[{"name": object()}])
    with pytest.raises(OptionError, match=r"enable_thinking is 1; expected True or False"):
        template.render(HELLO, enable_thinking=1)  # type: ignore[arg-type]


def test_generation_prompt_can_be_left_out() -> None:
    template = ChatTemplate("{{ add_generation_prompt }}", {})
    assert template.render(HELLO, add_generation_prompt=False) == "False"


def test_break_and_continue_work() -> None:
    assert (
        render("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}")
        == "1"
    )


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{{ raise_exception('roles must alternate') }}", "roles must alternate"),
        ("{{ messages[0].content.x.y }}", "has no attribute 'x'"),
        ("{% if %}", "Expected an expression"),
        ("{{ messages[0].content + 1 }}", "can only concatenate str"),
        ("{{ ''.__class__.__mro__ }}", "unsafe"),
        ("{{ messages.append(1) }}", "attribute .append. of .list. object is unsafe"),
    ],
)
def test_template_that_refuses_is_a_prompt_error(template: str, message: str) -> None:
    with pytest.raises(PromptError, match=f"chat template refuses these messages: .*{message}"):
        render(template)


def open_with(folder: Path, **files: str) -> ChatTemplate | None:
    """Adds files to the folder's manifest and reads its template."""
    manifest = json.loads((folder / "dawn.json").read_text())
    for name, text in files.items():
        path = folder / {"template": "chat_template.jinja", "config": "tokenizer_config.json"}[name]
        path.write_text(text)
        manifest["files"][path.name] = {"size": len(text), "sha256": "0" * 64}
    (folder / "dawn.json").write_text(json.dumps(manifest))
    return ChatTemplate.from_artifact(Artifact.open(folder, verify="sizes"))


def test_template_file_goes_before_the_tokenizer_config(artifact_folder: Path) -> None:
    config = {"chat_template": "old", "eos_token": {"content": "</s>"}, "bos_token": "<s>", "x": 1}
    template = open_with(artifact_folder, template="new{{ eos_token }}", config=json.dumps(config))
    assert template == ChatTemplate("new{{ eos_token }}", {"eos_token": "</s>", "bos_token": "<s>"})


@pytest.mark.parametrize(
    ("entry", "source"),
    [
        ("text", "text"),
        ([{"name": "tool", "template": "t"}, {"name": "default", "template": "d"}], "d"),
        (None, None),
    ],
)
def test_template_of_the_tokenizer_config_is_found(
    entry: Any, source: str | None, artifact_folder: Path
) -> None:
    manifest = json.loads((artifact_folder / "dawn.json").read_text())
    del manifest["files"]["chat_template.jinja"]
    (artifact_folder / "chat_template.jinja").unlink()
    (artifact_folder / "dawn.json").write_text(json.dumps(manifest))
    template = open_with(artifact_folder, config=json.dumps({"chat_template": entry}))
    assert (template and template.source) == source


def test_template_of_another_type_is_refused(artifact_folder: Path) -> None:
    manifest = json.loads((artifact_folder / "dawn.json").read_text())
    del manifest["files"]["chat_template.jinja"]
    (artifact_folder / "chat_template.jinja").unlink()
    (artifact_folder / "dawn.json").write_text(json.dumps(manifest))
    with pytest.raises(ArtifactError, match="is not a text or a list with one named 'default'"):
        open_with(artifact_folder, config='{"chat_template": [{"name": "tool"}]}')
