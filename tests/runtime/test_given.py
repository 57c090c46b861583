"""What callers give: any iterable once, and everything that is none of it in one line."""

import array
import itertools
import re
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dawn_runtime import (
    Artifact,
    DawnError,
    Decoder,
    EngineError,
    Filling,
    OptionError,
    PromptError,
    Settings,
    open_engine,
)
from dawn_runtime.checks import shown
from dawn_runtime.decoding import Blocks, Dual, Pruned, Sampling, Sliding
from dawn_runtime.policies import Dapd, Dawn, Factor, Klass, LocalLeap, Threshold
from dawn_runtime.request import Limits
from support.text import TextRecorder

QUESTION = [{"role": "user", "content": "hi"}]


class Unspeakable:
    """An object that cannot even be shown."""

    def __repr__(self) -> str:
        raise ValueError("no")


class Detached:
    """An array that cannot be had, as a tensor on another device."""

    def __array__(self, *_: object, **__: object) -> Any:
        raise RuntimeError("move it to the CPU first")


def ids_of(decoder: Decoder, **given: Any) -> list[int]:
    return decoder.generate(**given, max_new_tokens=4).tokens.tolist()


def test_prompts_of_a_batch_may_come_from_an_iterator(decoder: Decoder) -> None:
    expected = [result.trace for result in decoder.generate_batch(["a", "b"], max_new_tokens=4)]
    assert len(expected) == 2
    for prompts in (
        (text for text in "ab"),
        map(str, "ab"),
        {"a": 1, "b": 2}.keys(),
        ("a", "b"),
        np.array(["a", "b"]),
    ):
        found = decoder.generate_batch(prompts, max_new_tokens=4)  # type: ignore[arg-type]
        assert [result.trace for result in found] == expected


def test_messages_may_come_from_an_iterator(decoder: Decoder) -> None:
    expected = ids_of(decoder, messages=QUESTION)
    assert ids_of(decoder, messages=(message for message in QUESTION)) == expected
    assert ids_of(decoder, prompt=iter(QUESTION)) == expected
    assert ids_of(decoder, messages={"only": QUESTION[0]}.values()) == expected
    assert decoder.generate_batch([iter(QUESTION)], max_new_tokens=4)[0].tokens.tolist() == expected


@pytest.mark.parametrize(
    "make",
    [
        tuple,
        iter,
        np.array,
        lambda ids: (number for number in ids),
        lambda ids: array.array("i", ids),
        lambda ids: memoryview(array.array("q", ids)),
        lambda ids: dict.fromkeys(ids).keys(),
        lambda ids: np.array(ids, dtype=np.uint16),
        lambda ids: np.array([*ids, 0])[::1][:-1],
        lambda ids: [np.int32(number) for number in ids],
    ],
)
def test_ids_may_come_in_any_sequence_of_integers(
    make: Callable[[list[int]], Any], decoder: Decoder
) -> None:
    expected = ids_of(decoder, input_ids=[5, 6, 7])
    assert ids_of(decoder, input_ids=make([5, 6, 7])) == expected
    assert ids_of(decoder, prompt=make([5, 6, 7])) == expected
    filled = decoder.fill(input_ids=make([5, 258, 7]), policy="threshold").trace
    assert filled == decoder.fill(input_ids=[5, 258, 7], policy="threshold").trace


def test_a_template_from_an_iterator_can_be_looked_at_twice(decoder: Decoder) -> None:
    filling = Filling((piece for piece in ["a", 2]), (number for number in [7]))
    first = decoder.encode(filling).tolist()
    assert first == [7, ord("a") - 33, 258, 258]
    assert decoder.encode(filling).tolist() == first
    assert decoder.fill(map(lambda piece: piece, ["a", 2])).prompt_tokens == 0  # noqa: C417
    again = Filling(input_ids=(number for number in [1, 258]))
    assert [decoder.encode(again).tolist() for _ in range(2)] == [[1, 258], [1, 258]]


def test_what_has_no_end_is_refused(decoder: Decoder) -> None:
    with pytest.raises(PromptError, match="input_ids has more than 1048576 items"):
        decoder.generate(input_ids=itertools.count())
    with pytest.raises(PromptError, match="the template has more than"):
        decoder.fill(itertools.repeat("a"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"messages": "hi"}, "messages is 'hi'; expected a list of messages such as"),
        ({"messages": QUESTION[0]}, "messages is {.*}; expected a list of messages"),
        ({"messages": [1, 2]}, r"messages\[0\] is 1; expected a list of messages"),
        ({"messages": ["hi"]}, r"messages\[0\] is 'hi'"),
        ({"input_ids": "123"}, "input_ids is '123'; expected a list of integers"),
        ({"input_ids": b"abc"}, "input_ids is b'abc'; expected a list of integers"),
        ({"input_ids": bytearray(b"a")}, "input_ids is bytearray"),
        ({"input_ids": memoryview(b"a")}, "input_ids is <memory"),
        ({"input_ids": {1, 2}}, "input_ids is {1, 2}"),
        ({"input_ids": {1: 2}}, "input_ids is {1: 2}"),
        ({"input_ids": QUESTION}, "input_ids hold {.*}; expected a list of integers"),
        ({"input_ids": [1, True]}, "input_ids hold True"),
        ({"input_ids": [True]}, "input_ids hold True"),
        ({"input_ids": [[1], [2, 3]]}, r"input_ids hold \[1\]"),
        ({"input_ids": [10**400]}, "holds id 10000.*, which no vocabulary has"),
        ({"input_ids": [10**5000]}, "which no vocabulary has"),
        ({"input_ids": np.array([2**63], dtype=np.uint64)}, "holds id 9223372036854775808"),
        ({"input_ids": Detached()}, "input_ids cannot be read: move it to the CPU first"),
        ({"prompt": ["a", "b"]}, "is a list of 2 texts; give one text, or several prompts to"),
        ({"prompt": QUESTION[0]}, "the prompt is {.*}; expected a text, a list of messages or"),
        ({"prompt": 5}, "the prompt is 5; expected a text"),
        ({"prompt": [Filling(["a", 1])]}, r"input_ids hold Filling\("),
        ({"prompt": Unspeakable()}, "the prompt is a value of type Unspeakable|<Unspeakable"),
        ({"prompt": "a\ud800"}, "not Unicode text: character 1 is '.ud800', half of a surrogate"),
        ({"messages": [{"role": "user", "content": "\ud800"}]}, "not Unicode text"),
        ({"messages": [{"content": "a"}]}, r"messages\[0\] has the role None"),
        ({"messages": [*QUESTION, {"role": "user"}]}, r"messages\[1\] has no content"),
        ({"messages": [{"role": "user", "content": 5}]}, "has the content 5; expected a text"),
        ({"messages": [{"role": "user", "content": b"a"}]}, "has the content b'a'"),
        (
            {"messages": [{"role": "user", "content": [{"type": "image", "url": "x"}]}]},
            "this model reads text alone",
        ),
        (
            {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}]}]},
            "the template takes texts as content, and this is a list or an object",
        ),
        ({"messages": [{**QUESTION[0], "at": object()}]}, "messages hold <object object"),
        ({"messages": [{**QUESTION[0], 5: 6}]}, "messages hold .*with texts as keys"),
    ],
)
def test_one_sort_of_argument_is_not_taken_for_another(
    arguments: dict[str, Any], message: str, decoder: Decoder, engine: TextRecorder
) -> None:
    with pytest.raises(PromptError, match=message) as caught:
        decoder.generate(**arguments)
    assert "\n" not in str(caught.value)
    assert not engine.seen


def test_a_message_that_holds_itself_is_refused(decoder: Decoder) -> None:
    message: dict[str, Any] = {"role": "user", "content": "a"}
    message["again"] = message
    with pytest.raises(PromptError, match="nested too deeply, or hold themselves"):
        decoder.generate(messages=[message])


def test_several_prompts_are_named_by_number_and_not_mixed_up(decoder: Decoder) -> None:
    for prompts, message in (
        (QUESTION, "the prompt is {.*}; expected a text"),
        ([1, 2], r"prompts\[0\]: the prompt is 1; expected"),
        (["a", None], r"prompts\[1\]: the prompt is None"),
        ({"a": 1}, "prompts is {'a': 1}; expected texts"),
        (b"ab", "prompts is b'ab'"),
    ):
        with pytest.raises(PromptError, match=message):
            decoder.generate_batch(prompts)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("a[[2]]", "the template is one text"),
        (5, "the template is 5; expected a list of texts and hole lengths"),
        ({"a": 2}, "the template is {'a': 2}"),
        (b"ab", "the template is b'ab'"),
        (["a", True], "the template holds True"),
        (["a", 2.0], "the template holds 2.0"),
        (["a", ["b"]], r"the template holds \['b'\]"),
        (["a", 257], "have 258 tokens and exceed the context of 256"),
        (["a", 10**12], "have 1000000000001 tokens and exceed the context of 256"),
        (["a", 2**40, 2**40], "exceed the context of 256"),
        ([1] * 5000, "exceed the context of 256"),
        (["a", 10**400], "exceed the context of 256"),
        (["a", 10**5000], "exceed the context of 256"),
    ],
)
def test_a_template_is_refused_before_there_are_arrays_of_its_length(
    template: Any, message: str, decoder: Decoder
) -> None:
    with pytest.raises(PromptError, match=message):
        decoder.fill(template)


@pytest.mark.parametrize("name", ["policy", "window", "cache", "padding"])
def test_an_empty_text_is_no_default(name: str, decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=r"(unknown|padding is).*''?|''"):
        decoder.generate("a", **{name: ""})  # type: ignore[arg-type]


@pytest.mark.parametrize("value", [0, 1, "false", "", np.int64(0), [], 0.0])
def test_a_truth_value_is_true_or_false_and_nothing_else(value: Any, decoder: Decoder) -> None:
    with pytest.raises(OptionError, match=r"stop_at_eos is .*; expected True or False"):
        decoder.generate("a", stop_at_eos=value)


def test_truth_values_and_numbers_of_numpy_are_taken(decoder: Decoder) -> None:
    plain: Any = {"stop_at_eos": False, "max_new_tokens": 20, "temperature": 0.5, "seed": 3}
    numpy: Any = {
        "stop_at_eos": np.False_,
        "max_new_tokens": np.uint8(20),
        "temperature": np.float32(0.5),
        "seed": np.int64(3),
    }
    found, expected = decoder.generate("a", **numpy), decoder.generate("a", **plain)
    assert found.trace == expected.trace
    assert len(found.tokens) == 20


@pytest.mark.parametrize(
    ("given_settings", "message"),
    [
        ({"options": "abc"}, "options of the policy are 'abc'; expected values by name"),
        ({"options": [1]}, r"options of the policy are \[1\]"),
        ({"options": []}, r"options of the policy are \[\]"),
        ({"options": {1: 2}}, "options of the policy are {1: 2}"),
        ({"policy": 5}, "policy is 5; expected a name .*or an object of class Policy"),
        ({"policy": Dawn}, "policy is <class"),
        ({"policy": np.array([1, 2])}, "policy is array"),
        ({"policy": Blocks(8)}, r"policy is Blocks\("),
        ({"window": Dual()}, r"window is Dual\("),
        ({"cache": 5}, "cache is 5"),
        ({"cache": "dual:"}, "cache option '' is not KEY=VALUE"),
        ({"cache": "dual:refresh=1,refresh=2"}, "cache option refresh is given twice"),
        ({"padding": np.array(["left"])}, "padding is array"),
        ({"temperature": 10**400}, "temperature is 1000.*; expected a number from 0 to 100"),
        ({"timeout": 10**400}, "timeout is 1000"),
        ({"top_k": 10**400, "temperature": 1}, "top_k is 1000.*an integer from 0 to 2147483647"),
        ({"seed": 2**64}, "seed is 18446744073709551616; expected an integer from 0 to"),
        ({"policy": "klass", "options": {"history": 10**9}}, "history is 1000000000; .* 1024"),
        ({"policy": "local-leap", "options": {"radius": 10**400}}, "radius is 1000"),
        ({"window": "pruned:near=" + "9" * 100}, "near is '9999"),
        ({"max_new_tokens": np.timedelta64(3, "s")}, "max_new_tokens is np.timedelta64|timedelta"),
    ],
)
def test_a_setting_of_another_type_or_size_is_refused(
    given_settings: dict[str, Any], message: str, decoder: Decoder
) -> None:
    with pytest.raises(OptionError, match=message) as caught:
        decoder.generate("a", **given_settings)
    assert len(str(caught.value)) < 400


def test_a_closed_decoder_says_so(decoder: Decoder) -> None:
    with decoder:
        stream = decoder.stream("a", max_new_tokens=4)
    calls: list[Callable[[], Any]] = [
        lambda: decoder.generate("a"),
        lambda: decoder.generate_batch(["a"]),
        lambda: decoder.fill(["a", 1]),
        lambda: decoder.stream("a"),
        lambda: decoder.watch("a"),
    ]
    for call in calls:
        with pytest.raises(EngineError, match="the decoder is closed; open the artifact again"):
            call()
    assert stream.result.text  # its engine is the caller's and still open
    decoder.close()


def test_opening_takes_paths_names_and_engines_only(
    artifact_folder: Any, engine: TextRecorder
) -> None:
    for folder in (None, 5, b"x", "a\0b", [], object()):
        with pytest.raises(OptionError, match=r"artifact: folder is .*; expected a path"):
            Decoder.open(folder)  # type: ignore[arg-type]
        with pytest.raises(OptionError, match="artifact: folder is"):
            Artifact.open(folder)  # type: ignore[arg-type]
    for bad in (None, 5, object(), TextRecorder):
        with pytest.raises(OptionError, match=r"decoder: engine is .*; expected a name or an obj"):
            Decoder.open(artifact_folder, engine=bad)  # type: ignore[arg-type]
    for low in (0, "false", None):
        with pytest.raises(OptionError, match=r"low_memory is .*; expected True or False"):
            Decoder.open(artifact_folder, low_memory=low)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match=r"threads is 1000.*; expected an integer from 1 to 1024"):
        Decoder.open(artifact_folder, threads=10**400)
    with pytest.raises(OptionError, match="engine: artifact is None; expected an opened Artif"):
        open_engine(None)  # type: ignore[arg-type]
    manifest = Artifact.open(artifact_folder).manifest
    with pytest.raises(OptionError, match="decoder: manifest is 5; expected a Manifest"):
        Decoder(5, engine)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="decoder: tokenizer is 5; expected a Tokenizer"):
        Decoder(manifest, engine, tokenizer=5)  # type: ignore[arg-type]
    with pytest.raises(OptionError, match="decoder: chat is 'x'; expected a ChatTemplate"):
        Decoder(manifest, engine, chat="x")  # type: ignore[arg-type]


SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-3, 300),
    st.sampled_from([10**400, -(10**400), 2**63, 2**64, np.iinfo(np.int64).min]),
    st.floats(),
    st.text(st.characters(), max_size=4),
    st.sampled_from(["\ud800", "dawn", "dual:", "auto", "left", "a\0", "role"]),
    st.binary(max_size=3),
    st.sampled_from([np.bool_(False), np.float32(0.5), np.int8(2), np.str_("x")]),
    st.sampled_from([np.datetime64("2020"), np.timedelta64(2, "s"), np.complex64(1), ...]),
    st.builds(object),
    st.builds(Detached),
    st.sampled_from([int, Decoder, len, Filling(["a", 1])]),
)
ARRAYS = st.sampled_from(
    [
        np.array(values, dtype=dtype)
        for dtype in ("bool", "i1", "u8", "f2", "f8", "c8", "U2", "S2", "O", "M8[s]", "m8[s]")
        for values in ([], [1, 0], [[1, 0]], 1)
    ]
)
GARBAGE = st.recursive(
    SCALARS | ARRAYS,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.tuples(inner)
        | st.lists(inner, max_size=2).map(iter)
        | st.dictionaries(st.sampled_from(["role", "content", "type", "x", 5, None]), inner)
    ),
    max_leaves=5,
)


def said(call: Callable[[], object], kind: type[Exception] = DawnError) -> str:
    """Calls, and returns what an error of ours says; nothing if it works."""
    try:
        call()
    except kind as error:
        return str(error)
    return ""


ONE_LINE = re.compile(r"[^\n]{0,500}")

CALLS: dict[str, Callable[[Decoder, Any], object]] = {
    "generate": lambda d, x: d.generate(x, max_new_tokens=2),
    "messages": lambda d, x: d.generate(messages=x, max_new_tokens=2),
    "message": lambda d, x: d.generate(messages=[{"role": "user", "content": x}], max_new_tokens=2),
    "input_ids": lambda d, x: d.generate(input_ids=x, max_new_tokens=2),
    "batch": lambda d, x: d.generate_batch(x, max_new_tokens=2),
    "in a batch": lambda d, x: d.generate_batch(["a", x], max_new_tokens=2),
    "fill": lambda d, x: d.fill(x),
    "piece": lambda d, x: d.fill(["a", x, 1]),
    "before": lambda d, x: d.fill(["a", 1], prompt=x),
    "filled ids": lambda d, x: d.fill(input_ids=x),
    "filling": lambda d, x: Filling(x, x, x),
    "stream": lambda d, x: list(d.stream(x, max_new_tokens=2)),
    "watch": lambda d, x: list(d.watch(x, max_new_tokens=2)),
    "encode": lambda d, x: d.encode(x),
    "encode with room": lambda d, x: d.encode("a", max_new_tokens=x),
    "open": lambda d, x: Decoder.open(x),
    "open with": lambda d, x: Decoder.open("nowhere", engine=x),
    "verify": lambda d, x: Artifact.open("nowhere", verify=x),
    "engine": lambda d, x: open_engine(x),
    "decoder": lambda d, x: Decoder(d.manifest, x),
    "limits": lambda d, x: Limits(x, x),
}


@pytest.mark.parametrize("name", CALLS)
@given(value=GARBAGE)
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_given_works_or_is_an_error_of_ours(
    name: str, decoder: Decoder, value: Any
) -> None:
    assert ONE_LINE.fullmatch(said(lambda: CALLS[name](decoder, value)))


@pytest.mark.parametrize("name", Settings.__annotations__)
@given(value=GARBAGE)
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_whatever_is_set_works_or_is_an_error_of_ours(
    name: str, decoder: Decoder, value: Any
) -> None:
    base = {"temperature": 1.0} if name in ("top_p", "top_k", "seed") else {}
    chosen: Any = {"max_new_tokens": 2, **base, name: value}
    assert ONE_LINE.fullmatch(said(lambda: decoder.generate("a", **chosen)))


RULES: tuple[type[Any], ...] = (
    *(Dawn, Dapd, Factor, Klass, LocalLeap, Threshold, Blocks, Sliding, Pruned, Dual, Sampling),
)


@pytest.mark.parametrize("rule", RULES)
@given(data=st.data())
@settings(max_examples=60)
def test_whatever_a_rule_is_made_of_works_or_is_an_option_error(
    rule: type[Any], data: st.DataObject
) -> None:
    options = {data.draw(st.sampled_from(rule.__match_args__)): data.draw(GARBAGE)}
    assert ONE_LINE.fullmatch(said(lambda: rule(**options), OptionError))


def test_missing_entries_of_a_masked_array_are_no_ids(decoder: Decoder) -> None:
    masked = np.ma.array([1, 2, 3], mask=[False, True, False])
    for prompt in ({"input_ids": masked}, {"prompt": masked}):
        with pytest.raises(PromptError, match=r"a masked array of NumPy.*; give the ids alone"):
            decoder.generate(**prompt, max_new_tokens=2)


def test_a_value_of_many_parts_is_shown_in_a_short_line_all_the_same() -> None:
    parts = {f"name {number}": ["x" * 70] * 6 for number in range(6)}
    line = shown(parts)
    assert len(line) == 160
    assert line.startswith("{'name 0': ['xxx")
    assert line.endswith("...")
    assert shown({"policy": 3}) == "{'policy': 3}"
