"""The page for browsers at `/`: static files that load nothing from anywhere else.

index.html   what there is on it
page.css     how it looks, light and dark, down to the width of a phone
main.js      the form and the panels put together; where everything begins
api.js       requests to the server, and the stream of events
rules.js     the settings of a panel: a rule, its options, window, cache and guard
run.js       one answer: its steps, and what stands where after each of them
panel.js     a run on screen: facts, text, steps, what is pointed at
graph.js     what depends on what, drawn over the text

There is no build step: browsers load the modules as they are.
"""

from importlib import resources
from typing import Final

INDEX: Final = "index.html"

KINDS: Final = {
    "html": "text/html; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "svg": "image/svg+xml",
}
"""Ending of a file -> its media type."""

NAMES: Final = (
    INDEX,
    "page.css",
    "icon.svg",
    *(f"{name}.js" for name in ("main", "api", "rules", "run", "panel", "graph")),
)
"""All files of the page."""


def read_file(name: str) -> bytes:
    """Returns a file of the page.

    Args:
        name: One of `NAMES`.
    """
    return resources.files("dawn_serve.page").joinpath(name).read_bytes()
