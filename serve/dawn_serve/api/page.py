"""The page for browsers: static files, which ask for no key and may load nothing but themselves."""

import hashlib
from functools import cache
from typing import Final

from starlette.responses import Response

from dawn_serve.api.asked import Asked
from dawn_serve.api.problems import ProblemError
from dawn_serve.page import INDEX, KINDS, NAMES, read_file

_HEADERS: Final = {
    "cache-control": "no-cache",
    "content-security-policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
    "x-content-type-options": "nosniff",
}


async def index(asked: Asked) -> Response:
    """Shows a page on which tokens appear in the order in which they are decided."""
    return _file(asked, INDEX)


async def part(asked: Asked) -> Response:
    """Gives a file of that page."""
    name = asked.parameter("name")
    if name not in NAMES:
        raise ProblemError(
            404, f"there is no /page/{name:.100}; there are {', '.join(NAMES)}", code="not_found"
        )
    return _file(asked, name)


def _file(asked: Asked, name: str) -> Response:
    body, tag = _read(name)
    headers = {**_HEADERS, "etag": tag}
    if tag in asked.header("if-none-match"):
        return Response(status_code=304, headers=headers)
    return Response(body, headers=headers, media_type=KINDS[name.rpartition(".")[2]])


@cache
def _read(name: str) -> tuple[bytes, str]:
    """A file, and the tag that names its content."""
    body = read_file(name)
    return body, f'"{hashlib.sha256(body).hexdigest()[:32]}"'
