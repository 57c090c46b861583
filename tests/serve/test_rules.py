"""`/v1/rules` lists what a request may choose: all that works here, with what it would get."""

from dataclasses import replace
from pathlib import Path

import pytest

from dawn_runtime import Decoder, OptionError
from dawn_runtime.decoding import CACHES, WINDOWS
from dawn_runtime.engine.fake import FakeEngine
from dawn_runtime.manifest import Attention
from dawn_runtime.policies import GUARDS
from dawn_runtime.rules import known_rules
from support.serving import Running, serving
from support.text import TEXT_MANIFEST, write_artifact, write_manifest, write_tokenizer

CHAT = [{"role": "user", "content": "Sort ascending: 47 61 56 21"}]


def test_every_rule_that_is_listed_decodes_with_the_options_that_are_listed(
    served: Running,
) -> None:
    listed = served.ask("/v1/rules").json
    for rule in listed["policies"]:
        body = {"messages": CHAT, "max_tokens": 8, "policy": rule["name"], "fallback_length": 0}
        reply = served.ask("/v1/chat/completions", body)
        assert reply.status == 200, reply.body
        (how,) = reply.json["dawn"]
        assert how["policy"] == rule["name"]
        expected = {one["name"]: one["default"] for one in rule["options"]}
        assert {name: how["options"][name] for name in expected} == expected
        assert rule["summary"].endswith(".")
        assert ";" not in rule["summary"]
    names = [rule["name"] for rule in listed["policies"]]
    assert names == sorted(names)
    for name in set(known_rules()) - set(names):
        body = {"messages": CHAT, "max_tokens": 8, "policy": name}
        assert served.ask("/v1/chat/completions", body).status == 400


def test_windows_caches_and_guards_are_those_that_a_request_may_name(served: Running) -> None:
    listed = served.ask("/v1/rules").json
    assert [one["name"] for one in listed["guards"]] == ["adjacent", "budget", "entropy-bound"]
    for part in ("window", "cache", "guard"):
        for one in listed[f"{part}s"]:
            given = ",".join(f"{two['name']}={two['default']}" for two in one["options"])
            text = f"{one['name']}:{given}" if given else one["name"]
            body = {"messages": CHAT, "max_tokens": 8, "policy": "threshold", part: text}
            reply = served.ask("/v1/chat/completions", body)
            assert reply.status == 200, reply.body


LOOK_BACK = [
    Attention("causal"),
    Attention("block-causal", 4),
    Attention("causal", 4, "prompt", carry=True),
]


@pytest.mark.parametrize("attention", LOOK_BACK, ids=Attention.words)
def test_a_model_that_does_not_look_ahead_is_offered_what_it_can_be_decoded_by(
    attention: Attention, tmp_path: Path
) -> None:
    manifest = replace(TEXT_MANIFEST, attention=attention)
    folder = write_artifact(tmp_path / "artifact", write_tokenizer(tmp_path / "tokenizer.json"))
    write_manifest(folder, manifest)
    engine = FakeEngine(manifest)
    with (
        Decoder.open(folder, engine=engine, literal_text=True) as decoder,
        serving(decoder) as running,
    ):
        listed = running.ask("/v1/rules").json
        rules = [one["name"] for one in listed["policies"]]
        for setting, many, registry in (
            ("window", "windows", WINDOWS),
            ("cache", "caches", CACHES),
            ("guard", "guards", GUARDS),
        ):
            taken = [
                name
                for name in registry.names()
                if any(takes(decoder, {"policy": rule, setting: name}) for rule in rules)
            ]
            assert [one["name"] for one in listed[many]] == taken
        assert "prefix" not in [one["name"] for one in listed["caches"]]
        refused = running.ask("/v1/choose", {"prompt": "a", "choices": ["a", "b"]})
        assert refused.status == 400
        message = refused.json["error"]["message"]
        assert message.startswith("choices are scored by models that attend to everything; this")
        assert "policy" not in message


def takes(decoder: Decoder, settings: dict[str, str]) -> bool:
    try:
        decoder.prepare("a", **settings)
    except OptionError:
        return False
    return True


def test_what_the_server_gives_where_a_request_does_not(decoder: Decoder) -> None:
    defaults = {"policy": "threshold", "options": {"threshold": 0.7}, "max_new_tokens": 12}
    with serving(decoder, defaults=defaults) as running:
        listed = running.ask("/v1/rules").json
        rules = {rule["name"]: rule for rule in listed["policies"]}
        assert listed["policy"] == "threshold"
        assert rules["threshold"]["options"][0]["default"] == 0.7
        assert rules["dapd"]["options"][2]["minimum"] == "tau_min", "of another option"
        assert listed["max_new_tokens"] == 12
        assert listed["chat"] is True
        assert listed["end_tokens"] == list(decoder.manifest.tokens.eos)
        settings = {one["name"]: one for one in listed["settings"]}
        assert settings["temperature"]["type"] == "number"
        assert [name for name, one in settings.items() if one["several"]] == ["forbid"]


@pytest.mark.parametrize("path", ["/v1/rules"])
def test_it_asks_for_the_key(decoder: Decoder, path: str) -> None:
    with serving(decoder, api_key="k") as running:
        assert running.ask(path).status == 401
        assert running.ask(path, headers={"x-api-key": "k"}).status == 200
