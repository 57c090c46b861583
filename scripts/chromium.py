"""Headless Chromium, told what to do over a pipe: no port, no driver, nothing but the browser.

    with browsing() as page:
        page.open(url)
        page.click("#run")
        page.until("document.querySelector('#stop').disabled")

It speaks the DevTools protocol, JSON between zero bytes, as `--remote-debugging-pipe` has it.
"""

import base64
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
BROWSER = next((found for name in BROWSERS if (found := shutil.which(name))), None)
MISSING = f"none of {', '.join(BROWSERS)} is installed"

PATIENCE = 120.0
"""Seconds that anything may take."""

_FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--no-first-run"),
    *("--disable-dev-shm-usage", "--disable-extensions", "--disable-background-networking"),
    *("--disable-component-update", "--remote-debugging-pipe", "about:blank"),
)

_KEYS = {
    "Tab": ("Tab", 9, ""),
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "ArrowLeft": ("ArrowLeft", 37, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "ArrowRight": ("ArrowRight", 39, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    " ": ("Space", 32, " "),
}
_SHIFT = 8


class Page:
    """A tab of the browser.

    Attributes:
        problems: What a console would show in red: exceptions, errors, refusals of the policy.
    """

    def __init__(self, to: int, back: int) -> None:
        self.problems: list[str] = []
        self._to, self._back = to, back
        self._answers: queue.Queue[dict[str, Any]] = queue.Queue()
        self._count = 0
        self._session: str | None = None
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def begin(self) -> None:
        """Takes the first tab."""
        targets = self.call("Target.getTargets")["targetInfos"]
        target = next(one["targetId"] for one in targets if one["type"] == "page")
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def open(self, url: str) -> None:
        """Loads a page, and waits until it is there."""
        self.call("Page.navigate", url=url)
        self.until(f"document.readyState === 'complete' && location.href.startsWith({url!r})")

    def run(self, script: str) -> Any:
        """Returns the value of an expression, which may be a promise."""
        found = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def until(self, condition: str) -> None:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"Boolean({condition})"):
            assert time.monotonic() < end, f"never {condition}; {self.problems}"
            time.sleep(0.02)

    def text(self, selector: str) -> str:
        """Returns the text of the first element that fits."""
        return str(self.run(f"document.querySelector({selector!r}).textContent"))

    def texts(self, selector: str) -> list[str]:
        """Returns the texts of all that fit."""
        script = f"[...document.querySelectorAll({selector!r})].map((one) => one.textContent)"
        return list(self.run(script))

    def set(self, selector: str, value: str) -> None:
        """Changes a field, as a person would."""
        self.run(
            f"(() => {{ const one = document.querySelector({selector!r});"
            f" one.value = {json.dumps(value)};"
            " for (const name of ['input', 'change'])"
            " one.dispatchEvent(new Event(name, {bubbles: true})); })()"
        )

    def click(self, selector: str) -> None:
        """Clicks in the middle of an element."""
        x, y = self._middle(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def hover(self, selector: str) -> None:
        """Moves the mouse onto an element."""
        x, y = self._middle(selector)
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def press(self, key: str, *, shift: bool = False) -> None:
        """Presses a key."""
        code, number, text = _KEYS[key]
        event = {"key": key, "code": code, "windowsVirtualKeyCode": number}
        event |= {"modifiers": _SHIFT} if shift else {}
        written = {"text": text} if text else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", **event, **written)
        self.call("Input.dispatchKeyEvent", type="keyUp", **event)

    def write(self, text: str) -> None:
        """Writes where the focus is."""
        self.call("Input.insertText", text=text)

    def size(self, width: int, height: int, *, phone: bool = False) -> None:
        """Sets the size of the window, or that of a phone's screen."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=2 if phone else 1,
            mobile=phone,
        )

    def scheme(self, name: str) -> None:
        """Sets what the user prefers, `light` or `dark`."""
        feature = {"name": "prefers-color-scheme", "value": name}
        self.call("Emulation.setEmulatedMedia", features=[feature])

    def picture(self) -> bytes:
        """Returns what is on screen as PNG."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Sends a command of the protocol and returns its result."""
        self._count += 1
        number = self._count
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session is not None:
            message["sessionId"] = self._session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._answers.get(timeout=PATIENCE)
            if answer["id"] == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result

    def _middle(self, selector: str) -> tuple[float, float]:
        x, y = self.run(
            f"(() => {{ const one = document.querySelector({selector!r});"
            " one.scrollIntoView({block: 'nearest'});"
            " const box = one.getClientRects()[0];"
            " return [box.x + box.width / 2, box.y + box.height / 2]; })()"
        )
        return x, y

    def _read(self) -> None:
        rest = b""
        with suppress(OSError):
            while chunk := os.read(self._back, 65536):
                *whole, rest = (rest + chunk).split(b"\0")
                for one in whole:
                    self._take(json.loads(one))

    def _take(self, message: dict[str, Any]) -> None:
        if "id" in message:
            self._answers.put(message)
            return
        given = message.get("params", {})
        if message["method"] == "Runtime.exceptionThrown":
            self.problems.append(json.dumps(given["exceptionDetails"]))
        elif message["method"] == "Runtime.consoleAPICalled" and given["type"] in (
            "error",
            "warning",
            "assert",
        ):
            self.problems.append(json.dumps(given["args"]))
        elif message["method"] == "Log.entryAdded" and given["entry"]["level"] in (
            "error",
            "warning",
        ):
            self.problems.append(given["entry"]["text"])


@contextmanager
def browsing() -> Iterator[Page]:
    """Starts a browser with one empty tab, and ends it with all that it started.

    Raises:
        FileNotFoundError: There is none.
    """
    if BROWSER is None:
        raise FileNotFoundError(MISSING)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        from_us, to = os.pipe()
        back, from_it = os.pipe()
        command = [
            *("bash", "-c", f'exec "$@" 3<&{from_us} 4>&{from_it}', "bash", BROWSER),
            *(f"--user-data-dir={profile}", *_FLAGS),
        ]
        process = subprocess.Popen(
            command,
            pass_fds=(from_us, from_it),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "HOME": profile},
        )
        os.close(from_us), os.close(from_it)
        page = Page(to, back)
        try:
            page.begin()
            yield page
        finally:
            os.close(to)
            with suppress(subprocess.TimeoutExpired):
                process.wait(10)
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            page._reader.join(10)
            os.close(back)
