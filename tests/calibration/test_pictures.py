"""Pictures as files: of the kind that their name says, of a size, the same every time."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from dawn_runtime.pictures import picture


def drawn(path: Path) -> bytes:
    with picture(path, 1, 2, title="two", size=(3, 2)) as axes:
        for axis in axes:
            axis.plot([1, 2], [3, 4], "o", clip_on=True)
    return path.read_bytes()


@pytest.mark.parametrize("name", ["a.svg", "a.SVG"])
def test_a_name_that_ends_in_svg_makes_an_svg(tmp_path: Path, name: str) -> None:
    root = ElementTree.fromstring(drawn(tmp_path / name))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert (root.get("width"), root.get("height")) == ("432pt", "144pt"), "72 an inch"


@pytest.mark.parametrize("name", ["a.png", "a"])
def test_any_other_name_makes_a_png(tmp_path: Path, name: str) -> None:
    content = drawn(tmp_path / name)
    assert content.startswith(b"\x89PNG")
    assert int.from_bytes(content[16:20], "big") == 2 * 3 * 130


@pytest.mark.parametrize("kind", ["png", "svg"])
def test_the_same_picture_is_the_same_file(tmp_path: Path, kind: str) -> None:
    assert drawn(tmp_path / f"a.{kind}") == drawn(tmp_path / f"b.{kind}")
