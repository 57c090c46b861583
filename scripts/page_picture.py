"""A picture of the page of `dawn-serve`, as docs/serving.md has one.

    python scripts/page_picture.py models/tiny-dream-int8 docs/pictures/page.png
    python scripts/page_picture.py models/tiny-dream-int8 phone.png --scheme dark --phone

Starts the server on a port that is free, and Chromium without a window; asks two rules one question
and stops at a step whose graph has something to show.
"""

from __future__ import annotations

import argparse
import io
import json
import subprocess
import sys
import time
from pathlib import Path

from PIL import Image

from chromium import Page, browsing
from dawn_runtime.cli.common import Parser, run_command
from dawn_runtime.errors import DependencyError

PROMPT = (
    "There are 3 bags of 3 books in the house of Yara. Oscar brings 7 books. "
    "How many books are there now?"
)
OPTIONS = {"tau_high": "1", "tau_edge": "0.05"}
STEPS = {"1": "2", "2": "12"}
"""Panel -> the step that is shown of it."""
ENDED = "document.querySelector('#stop').disabled && !document.querySelector('[aria-busy]')"
WIDE, NARROW = (1200, 960), (390, 844)


def main() -> int:
    """Take it."""
    return run_command(_parser(), _work)


def _parser() -> Parser:
    parser = Parser("page_picture", "A picture of the page of dawn-serve.")
    parser.add_argument("artifact", type=Path, help="artifact folder")
    parser.add_argument("output", type=Path, help="PNG to write")
    parser.add_argument("--scheme", choices=("light", "dark"), default="light")
    parser.add_argument("--phone", action="store_true", help="as on a phone, one rule")
    return parser


def _work(args: argparse.Namespace) -> None:
    program = "import sys; from dawn_serve.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, str(args.artifact), "--port", "0", "--json"]
    with subprocess.Popen([*command, "--quiet"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = json.loads(server.stdout.readline())["url"]
            with browsing() as page:
                picture = _taken(page, url, args)
        except FileNotFoundError as error:
            raise DependencyError(f"{error}; install the Debian package chromium") from error
        finally:
            server.terminate()
    image = Image.open(io.BytesIO(picture)).convert("RGB")
    # A third of the size, and no colour is seen to be another.
    small = image.quantize(256, Image.Quantize.MAXCOVERAGE, kmeans=8, dither=Image.Dither.NONE)
    small.save(args.output, optimize=True)


def _taken(page: Page, url: str, args: argparse.Namespace) -> bytes:
    page.size(*(NARROW if args.phone else WIDE), phone=args.phone)
    page.scheme(args.scheme)
    page.open(f"{url}/")
    page.until("document.querySelector('.policy')")
    page.set("#prompt", PROMPT)
    page.set("#max-tokens", "40")
    page.set("#pace", "0")
    for name, value in OPTIONS.items():
        page.set(f"[data-option={name}]", value)
    if not args.phone:
        page.click("#compare")
        page.set("#panels > :nth-child(2) .policy", "dapd")
    page.click("#run")
    page.until(f"{ENDED} && document.querySelector('.facts b')")
    time.sleep(0.2)  # until the last step is shown
    for panel, step in list(STEPS.items())[: 1 if args.phone else 2]:
        page.set(f"#panels > :nth-child({panel}) .slider", step)
    if not args.phone:
        page.run("scrollTo(0, 0)")
    return page.picture()


if __name__ == "__main__":
    sys.exit(main())
