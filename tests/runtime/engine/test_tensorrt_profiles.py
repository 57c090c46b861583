"""Optimisation profiles: which there are, which one a step takes, what is refused."""

from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dawn_runtime.contract import input_specs
from dawn_runtime.engine.fake import fake_manifest
from dawn_runtime.engine.tensorrt.buffers import Packed
from dawn_runtime.engine.tensorrt.profiles import (
    Profile,
    choose_profile,
    plan_profiles,
    profiles_hash,
    shape_of,
)
from dawn_runtime.errors import ArtifactError, EngineError, OptionError
from support.host_device import HostDevice


def sizes(B: int = 1, S: int = 1, P: int = 0, R: int = 1, Q: int = 0) -> dict[str, int]:
    return {"B": B, "S": S, "P": P, "R": R, "Q": Q}


def test_a_plan_is_for_full_passes_and_for_cached_ones() -> None:
    full, cached = plan_profiles(1000, 32, 1)
    assert full.to_dict() == {
        "name": "full-1000",
        "B": [1, 1, 1],
        "S": [1, 1000, 1000],
        "P": [0, 0, 0],
        "R": [0, 1000, 1000],
        "Q": [0, 1000, 1000],
    }
    assert cached.ranges == {
        "B": (1, 1, 1),
        "S": (1, 64, 1000),
        "P": (1, 968, 1000),
        "R": (0, 32, 1000),
        "Q": (0, 32, 1000),
    }


def test_a_plan_for_several_rows_has_profiles_for_one_row_too() -> None:
    profiles = plan_profiles(96, 32, 4)
    assert [p.name for p in profiles] == ["full-96", "full-96x4", "cached-96", "cached-96x4"]
    assert [p.ranges["B"] for p in profiles] == 2 * [(1, 1, 1), (2, 4, 4)]
    for rows, fed, kept, number in [(1, 96, 0, 0), (2, 96, 0, 1), (1, 8, 88, 2), (4, 8, 88, 3)]:
        assert choose_profile("tensorrt", profiles, sizes(B=rows, S=fed, P=kept)) == number


def test_ranges_end_where_tokens_that_fill_up_still_fit() -> None:
    full, cached = plan_profiles(100, 32, 1)
    assert (full.ranges["S"][2], cached.ranges["S"][2], cached.ranges["P"][2]) == (104, 104, 104)
    assert full.multiple == cached.multiple == 8
    others = Profile("of trtexec", {**full.ranges, "S": (1, 100, 100)})
    assert others.multiple == 1


@pytest.mark.parametrize(("length", "block", "batch"), [(0, 1, 1), (8, 0, 1), (8, 4, 0), (8, 9, 1)])
def test_impossible_profiles_are_refused(length: int, block: int, batch: int) -> None:
    with pytest.raises(OptionError, match="expected at least 1 each, and a block no longer"):
        plan_profiles(length, block, batch)


@given(st.data(), st.integers(1, 300), st.integers(1, 40), st.integers(1, 4))
def test_every_step_of_a_sequence_fits_and_rounding_stays_inside(
    data: st.DataObject, length: int, block: int, batch: int
) -> None:
    block = min(block, length)
    profiles = plan_profiles(length, block, batch)
    fed = data.draw(st.integers(1, length))
    wanted = sizes(
        B=data.draw(st.integers(1, batch)),
        S=fed,
        P=data.draw(st.sampled_from([0, length - fed])),
        R=data.draw(st.integers(1, fed)),
        Q=data.draw(st.integers(0, fed)),
    )
    profile = profiles[choose_profile("tensorrt", profiles, wanted)]
    rounded = {n: profile.rounded(n, wanted[n], block) for n in ("R", "Q")}
    assert profile.misfit({**wanted, **rounded}) is None
    assert all(rounded[n] >= wanted[n] for n in rounded)
    assert all(rounded[n] % block == 0 or rounded[n] == profile.ranges[n][2] for n in rounded)


def test_a_step_takes_the_profile_of_its_kind() -> None:
    profiles = plan_profiles(1024, 32, 1)
    assert choose_profile("tensorrt", profiles, sizes(S=1024)) == 0
    assert choose_profile("tensorrt", profiles, sizes(S=1, P=1)) == 1


def test_a_step_that_fits_nothing_names_the_size_and_the_flag() -> None:
    profiles = plan_profiles(64, 32, 1)
    with pytest.raises(EngineError, match=r"B=1, S=65.* built for S from 1 to 64.* --max-length"):
        choose_profile("tensorrt", profiles, sizes(S=65))
    with pytest.raises(EngineError, match=r"built for P from 1 to 64"):
        choose_profile("tensorrt", profiles, sizes(S=2, P=65))


def test_profiles_survive_json_and_have_a_hash_of_their_content() -> None:
    from dawn_runtime._fields import Fields

    profiles = plan_profiles(64, 16, 2)
    again = tuple(Profile.read(Fields(p.to_dict(), "x.json")) for p in profiles)
    assert again == profiles
    assert profiles_hash(again) == profiles_hash(profiles)
    assert profiles_hash(plan_profiles(64, 16, 1)) != profiles_hash(profiles)


@pytest.mark.parametrize("wrong", [[1, 2], [3, 2, 4], [1, 5, 4]])
def test_a_malformed_range_is_refused(wrong: list[int]) -> None:
    from dawn_runtime._fields import Fields

    document = {**plan_profiles(8, 4, 1)[0].to_dict(), "S": wrong}
    with pytest.raises(ArtifactError, match="range"):
        Profile.read(Fields(document, "x.json"))


def test_shapes_follow_the_contract() -> None:
    specs = {spec.name: spec for spec in input_specs(1, 2, 64, "float16")}
    known = sizes(B=2, S=5, P=7, R=3, Q=1)
    assert shape_of(specs["attention_mask"], known) == (2, 1, 5, 12)
    assert shape_of(specs["past_key.0"], known) == (2, 2, 7, 64)


@given(st.integers(1, 2), st.integers(1, 40), st.integers(1, 40), st.integers(0, 40))
def test_packed_tensors_begin_at_aligned_addresses_and_do_not_overlap(
    batch: int, fed: int, rows: int, evidence: int
) -> None:
    manifest, device = fake_manifest(), HostDevice({})
    packed = Packed(device, manifest.inputs[:5], plan_profiles(40, 8, 2))
    known = sizes(batch, fed, 0, rows, evidence)
    arrays = list(packed.on_device(known).values())
    start = arrays[0].pointer
    for array, following in pairwise(arrays):
        assert (array.pointer - start) % 256 == 0
        assert array.pointer + array.nbytes <= following.pointer
    assert [a.shape for a in arrays] == [a.shape for a in packed.on_host(known).values()]


def test_a_plan_that_no_kernel_can_run_is_refused_before_it_is_built() -> None:
    pytest.importorskip("safetensors", reason="plans are built with the exporter")
    from dawn_export.tensorrt import EngineOptions

    manifest = fake_manifest(max_length=8192)
    manifest = replace(manifest, dims=replace(manifest.dims, heads=32))
    assert EngineOptions(max_length=4096, batch=1).profiles(manifest)
    with pytest.raises(OptionError, match=r"attention weights in a layer, .* smaller --max-length"):
        EngineOptions(max_length=8192, batch=1).profiles(manifest)
    with pytest.raises(OptionError, match="a step of 4096 tokens in 4 rows has 4 x 32 x 4096"):
        EngineOptions(max_length=4096, batch=4).profiles(manifest)
