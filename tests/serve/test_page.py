"""The page's files: whole, their own, and served with what keeps a page to itself."""

import re
from pathlib import Path
from typing import Any

import pytest

import dawn_serve.page
from dawn_runtime import Decoder
from dawn_serve import flags
from dawn_serve.page import KINDS, NAMES, read_file
from support.serving import Running, serving

FOLDER = Path(dawn_serve.page.__file__).parent
SCRIPTS = [name for name in NAMES if name.endswith(".js")]
ADDRESSES = {name: f"/page/{name}" for name in NAMES} | {"index.html": "/"}


def test_all_files_of_the_folder_are_served() -> None:
    found = {path.name for path in FOLDER.iterdir() if path.suffix[1:] in KINDS}
    assert found == set(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_has_its_kind_and_what_keeps_the_page_to_itself(name: str, gated: Running) -> None:
    reply = gated.ask(ADDRESSES[name])
    assert (reply.status, reply.body) == (200, read_file(name))
    assert reply.headers["content-type"] == KINDS[name.rpartition(".")[2]]
    policy = dict(
        part.strip().split(" ", 1) for part in reply.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert {policy[one] for one in ("script-src", "style-src", "connect-src")} == {"'self'"}
    assert {policy[one] for one in ("base-uri", "form-action", "frame-ancestors")} == {"'none'"}
    assert reply.headers["x-content-type-options"] == "nosniff"
    assert reply.headers["cache-control"] == "no-cache"
    again = gated.ask(ADDRESSES[name], headers={"If-None-Match": reply.headers["etag"]})
    assert (again.status, again.body) == (304, b"")
    assert gated.ask(ADDRESSES[name], headers={"If-None-Match": '"other"'}).status == 200


def test_what_is_no_file_of_the_page_is_not_there(gated: Running) -> None:
    for path in ("/page/", "/page/__init__.py", "/page/..%2fapi%2fapp.py", "/page/index.htm"):
        assert gated.ask(path).status == 404
    assert gated.ask("/", method="POST").status == 405


@pytest.mark.parametrize("name", NAMES)
def test_nothing_comes_from_elsewhere_and_nothing_stands_inline(name: str) -> None:
    text = read_file(name).decode().replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"https?:|@import|\burl\(|\bsrc=\"(?!page/)|\shref=\"/", text)
    assert not re.search(r"<style|<script>|\sstyle=|\son[a-z]+=", text)


@pytest.mark.parametrize("name", SCRIPTS)
def test_text_stays_text_and_modules_are_there(name: str) -> None:
    script = read_file(name).decode()
    unsafe = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(unsafe, script)
    for other in re.findall(r'from "\./([\w.]+)"', script):
        assert other in NAMES


def test_the_page_asks_for_no_key_but_all_that_it_asks_does(decoder: Decoder) -> None:
    with serving(decoder, api_key="k") as running:
        for path in ADDRESSES.values():
            assert running.ask(path).status == 200
        for path in ("/v1/rules", "/v1/models"):
            assert running.ask(path).status == 401


def test_a_server_without_a_page_has_none(decoder: Decoder) -> None:
    with serving(decoder, page=False) as running:
        for path in ADDRESSES.values():
            reply = running.ask(path)
            assert reply.status == 404
            assert "/page" not in reply.json["error"]["message"].partition(";")[2]
        described = running.ask("/openapi.json").json["paths"]
        assert not {"/", "/page/{name}"} & set(described)
        assert running.ask("/v1/rules").status == 200


def test_a_flag_leaves_it_out() -> None:
    parse: Any = flags.parser().parse_args
    assert parse(["folder", "--no-page"]).no_page
    assert not parse(["folder"]).no_page
