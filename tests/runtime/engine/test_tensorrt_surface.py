"""What the fake `tensorrt` of the tests offers exists in the real bindings, of three releases."""

from inspect import isfunction, signature
from types import ModuleType

import pytest

from support.fake_tensorrt import CLASSES, LATER, fake_tensorrt
from support.tensorrt_surface import Members, arguments, members, recorded, surface

OURS = {
    "INetworkDefinition": {"graph", "outputs", "layers"},
    "IBuilderConfig": {"set", "profiles", "cache"},
    "ICudaEngine": {"plan", "session", "names"},
}
"""What the fake keeps for itself under a public name of a class."""


@pytest.fixture(scope="session")
def rtx() -> ModuleType:
    return pytest.importorskip("tensorrt_rtx")


def releases(rtx: ModuleType) -> dict[str, dict[str, Members]]:
    return {**recorded(), f"tensorrt_rtx {rtx.__version__}": surface(rtx)}


def own_members(cls: type) -> set[str]:
    """What the fake class defines itself."""
    names = {name for name in vars(cls) if not name.startswith("_") or name == "__init__"}
    return names - OURS.get(cls.__name__, set())


def argument_names(cls: type, name: str) -> list[str] | None:
    member = vars(cls)[name]
    return list(signature(member).parameters)[1:] if isfunction(member) else None


@pytest.mark.parametrize("cls", CLASSES, ids=lambda cls: cls.__name__)
def test_every_member_of_the_fake_exists_with_these_arguments(cls: type, rtx: ModuleType) -> None:
    for release, offered in releases(rtx).items():
        assert cls.__name__ in offered, release
        for name in own_members(cls):
            assert name in offered[cls.__name__], f"{release}: {cls.__name__}.{name}"
            known, ours = offered[cls.__name__][name], argument_names(cls, name)
            if ours is None or name == "__init__":
                continue
            fits = [names for names in known or [] if ours == names[: len(ours)]]
            assert fits, f"{release}: {cls.__name__}.{name}{tuple(ours)}, known: {known}"


@pytest.mark.parametrize("name", ["Builder", "Runtime", "OnnxParser", "Refitter"])
def test_constructors_take_the_arguments_of_the_real_ones(name: str, rtx: ModuleType) -> None:
    cls = next(cls for cls in CLASSES if cls.__name__ == name)
    for release, offered in releases(rtx).items():
        assert argument_names(cls, "__init__") in (offered[name]["__init__"] or []), release


def test_what_came_later_is_missing_in_10_3_and_there_in_11(rtx: ModuleType) -> None:
    table = recorded()
    for cls in LATER:
        assert cls.__name__ not in table["tensorrt 10.3.0"]
        assert cls.__name__ in table["tensorrt 11.4.0.106"]
        assert not hasattr(fake_tensorrt("10.3.0"), cls.__name__)
        assert hasattr(fake_tensorrt("11.4.0.106"), cls.__name__)
    assert "decomposable" in members(rtx.IAttention)
    assert "attention" in members(rtx.IAttentionBoundaryLayer)


@pytest.mark.parametrize("name", ["num_compute_capabilities", "set_compute_capability"])
def test_only_tensorrt_for_rtx_builds_for_other_gpus(name: str, rtx: ModuleType) -> None:
    assert name in members(rtx.IBuilderConfig)
    assert all(name not in offered["IBuilderConfig"] for offered in recorded().values())


def test_arguments_are_read_from_signatures_with_nested_types() -> None:
    text = "self: trt.X, a: Dict[str, int], b: trt.E = <E.NONE: 0>, c: int = 0"
    assert arguments(text) == ["a", "b", "c"]
