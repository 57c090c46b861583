"""Options say once what they are; the check of a value and its text in help follow from that."""

from dataclasses import FrozenInstanceError, dataclass, fields
from typing import ClassVar

import numpy as np
import pytest

from dawn_runtime.decoding import CACHES, SCHEMES, WINDOWS, Sampling
from dawn_runtime.decoding.schemes import LinearSpeculation, SelfVerify
from dawn_runtime.errors import OptionError
from dawn_runtime.option_fields import Options, option, options_of
from dawn_runtime.options import rule_options, scalar_options
from dawn_runtime.policies import GUARDS, POLICIES
from dawn_runtime.request import Limits
from dawn_runtime.settings import Settings


@dataclass(frozen=True, slots=True)
class Example(Options):
    kind: ClassVar[str] = "example"
    name: ClassVar[str] = "one"

    share: float = option(0.5, 0, 1, "a share")
    most: float = option(0.25, 0, "share", "at most the share")
    count: int = option(3, 1, None, "a count", ceiling=10)
    flag: bool = option(False, help="a flag")
    side: str = option("left", help="a side", choices=("left", "right"))
    limit: int | None = option(None, 1, 9, "a limit", kind=int)
    every: int | str = option("block", 1, None, "a rule", kind=int, choices=("block",))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"share": 1.5}, "example 'one': share is 1.5; expected a number from 0 to 1"),
        ({"share": float("nan")}, "share is nan; expected a number from 0 to 1"),
        ({"share": True}, "share is True; expected a number from 0 to 1"),
        ({"share": 10**400}, "expected a number from 0 to 1"),
        ({"share": None}, "share is None; expected a number from 0 to 1"),
        ({"most": 0.75}, "most is 0.75; expected a number from 0 to 0.5"),
        ({"count": 0}, "count is 0; expected an integer >= 1"),
        ({"count": 11}, "count is 11; expected an integer from 1 to 10"),
        ({"count": True}, "count is True; expected an integer >= 1"),
        ({"count": 2.0}, "count is 2.0; expected an integer >= 1"),
        ({"flag": 1}, "flag is 1; expected True or False"),
        ({"side": "top"}, "side is 'top'; use one of left, right"),
        ({"side": None}, "side is None; use one of left, right"),
        ({"limit": 10}, "limit is 10; expected an integer from 1 to 9"),
        ({"every": "day"}, "use block or a number: every is 'day'; expected an integer >= 1"),
    ],
)
def test_a_bad_value_of_any_kind_is_named_with_its_bounds(
    given: dict[str, object], message: str
) -> None:
    with pytest.raises(OptionError) as caught:
        Example(**given)  # type: ignore[arg-type]
    assert message in str(caught.value)


def test_values_are_kept_as_python_objects_and_cannot_be_changed() -> None:
    made = Example(share=np.float32(0.5), count=np.int64(4), flag=np.bool_(True))  # type: ignore[arg-type]
    assert [type(it) for it in (made.share, made.count, made.flag)] == [float, int, bool]
    assert made.limit is None
    with pytest.raises(FrozenInstanceError):
        made.count = 5  # type: ignore[misc]
    assert not hasattr(made, "__dict__")


def test_every_option_of_every_rule_says_what_it_is_and_has_a_default_that_it_allows() -> None:
    registered = [
        registry.class_of(name)
        for registry in (POLICIES, WINDOWS, CACHES, GUARDS, SCHEMES)
        for name in registry.names()
    ]
    seen = 0
    for cls in (*registered, Sampling, Limits):
        declared = options_of(cls)
        plain = {it.name for it in fields(cls)} - {it.name for it in declared}
        of_the_model = {SelfVerify: {"block_length", "origin"}, LinearSpeculation: {"block_length"}}
        assert plain <= {"window", "cache", "delimiters"} | of_the_model.get(cls, set()), cls
        for one in declared:
            assert one.help, (cls, one)
            assert one.expected(), (cls, one)
            assert one.line().startswith(f"{one.name}  ")
            seen += 1
        cls()
    assert seen > 30


def test_the_table_holds_every_setting_once() -> None:
    rules = {"policy", "options", "window", "cache", "guard"}
    assert set(scalar_options()) | rules == set(Settings.__annotations__)
    assert {setting for setting, _, _ in rule_options()} == rules - {"options"}
