"""docs/serving.md: its blocks run as they stand, top to bottom, on a port that is free."""

import os
import shutil
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from support.markdown import RUNS, as_script, blocks

ROOT = Path(__file__).parent.parent.parent
PAGE = [one for one in blocks(ROOT / "docs" / "serving.md") if one.language in RUNS]
ANSWER = "21 47 56 61"


@pytest.fixture(scope="module")
def shown(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What each block prints, by its first line."""
    assert shutil.which("curl"), "the page asks with curl"
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = str(free.getsockname()[1])
    install, *rest = PAGE
    assert install.text.startswith("pip install"), "which this environment has done"
    binaries = str(Path(sys.executable).parent)
    here = tmp_path_factory.mktemp("page")
    (here / "models").symlink_to(ROOT / "models")
    command = (
        f'{sys.executable} -c "from dawn_serve.cli import main; raise SystemExit(main())" "$@"'
    )
    script = here / "dawn-serve"
    script.write_text(f"#!/bin/bash\nexec {command}\n")
    script.chmod(0o755)
    finished = subprocess.run(
        ["bash", "-c", as_script(rest).replace("8000", port)],
        cwd=here,
        env={**os.environ, "PATH": os.pathsep.join([str(here), binaries, os.environ["PATH"]])},
        capture_output=True,
        text=True,
        timeout=900,
        check=False,
    )
    assert finished.returncode == 0, f"{finished.stdout[-3000:]}\n{finished.stderr[-5000:]}"
    parts = finished.stdout.split("### ")[1:]
    return {block.text: part.partition("\n")[2] for block, part in zip(rest, parts, strict=True)}


def of(shown: dict[str, str], word: str) -> str:
    (found,) = (printed for text, printed in shown.items() if word in text)
    return found


def test_every_block_shows_something(shown: dict[str, str]) -> None:
    assert all(printed.strip() for printed in shown.values())


@pytest.mark.parametrize("client", ["from openai", "from anthropic"])
def test_clients_get_the_answer(shown: dict[str, str], client: str) -> None:
    assert of(shown, client).startswith(ANSWER)


def test_curl_gets_what_the_page_says(shown: dict[str, str]) -> None:
    assert sum(ANSWER in printed for printed in shown.values()) >= 5
    assert "data: [DONE]" in of(shown, '"stream": true')
    assert '"done":true' in of(shown, "/api/chat")
    assert '"text":"dog hat bee boat"' in of(shown, "/v1/fill")
    assert '"index":0' in of(shown, "/v1/choose")
    assert "got tools, and the chat template of this model knows none" in of(shown, '"tools":')
    assert of(shown, "?events=1").count("event: commit") == 16
    assert "dawn_answers_total" in of(shown, "/metrics")
