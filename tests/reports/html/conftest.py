"""A headless Chromium, driven over the W3C WebDriver protocol: no library between the test and the browser."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")


class Page:
    """One open page of the browser."""

    def __init__(self, address: str) -> None:
        self._address = address

    def call(self, way: str, path: str, body: dict[str, Any] | None = None) -> Any:
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(  # noqa: S310  # the driver on loopback
            f"{self._address}{path}", data=data, method=way, headers={"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as reply:  # noqa: S310  # as above
                return json.loads(reply.read())["value"]
        except urllib.error.HTTPError as error:
            raise AssertionError(f"{way} {path}: {error.read().decode()[:500]}") from error

    def cdp(self, command: str, **params: Any) -> Any:
        return self.call("POST", "/goog/cdp/execute", {"cmd": command, "params": params})

    def look(self, *, width: int = 1200, dark: bool = False, touch: bool = False) -> None:
        """Size of the window, colour scheme and kind of pointer."""
        self.cdp(
            "Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=touch,
        )  # fmt: skip
        features = [{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}]
        self.cdp("Emulation.setEmulatedMedia", features=features)
        self.cdp("Emulation.setTouchEmulationEnabled", enabled=touch)

    def open(self, path: Path) -> None:
        """Open a file and wait until its charts are drawn."""
        self.call("POST", "/se/log", {"type": "browser"})  # what was said before is not this page's
        self.call("POST", "/url", {"url": path.as_uri()})
        until = time.monotonic() + 60.0
        while time.monotonic() < until:
            if self.run("return document.documentElement.dataset.drawn !== undefined"):
                return
            time.sleep(0.1)
        raise AssertionError(f"{path}: charts were not drawn within a minute: {self.complaints()}")

    def run(self, script: str, *args: Any) -> Any:
        return self.call("POST", "/execute/sync", {"script": script, "args": list(args)})

    def wait_for(self, script: str, *args: Any) -> Any:
        """First answer of the script that is true, within ten seconds."""
        until = time.monotonic() + 10.0
        while time.monotonic() < until:
            found = self.run(script, *args)
            if found:
                return found
            time.sleep(0.05)
        raise AssertionError(f"not true within ten seconds: {script}")

    def complaints(self) -> list[str]:
        """What the console says of warnings and errors."""
        return [
            entry["message"] for entry in self.call("POST", "/se/log", {"type": "browser"})
            if entry["level"] in ("SEVERE", "WARNING")
        ]  # fmt: skip

    def move(self, x: float, y: float) -> None:
        """Put the mouse over a point of the window."""
        steps = [
            {"type": "pointerMove", "duration": 0, "x": int(x) + shift, "y": int(y)} for shift in (-3, 0)
        ]  # fmt: skip
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self.call("POST", "/actions", {"actions": [pointer]})

    def click(self, x: float, y: float) -> None:
        """Click on a point of the window."""
        steps = [
            {"type": "pointerMove", "duration": 0, "x": int(x), "y": int(y)},
            {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0},
        ]  # fmt: skip
        pointer = {"type": "pointer", "id": "mouse", "parameters": {"pointerType": "mouse"}, "actions": steps}
        self.call("POST", "/actions", {"actions": [pointer]})

    def picture(self, path: Path) -> None:
        """Write the whole page as PNG."""
        taken = self.cdp("Page.captureScreenshot", captureBeyondViewport=True, format="png")
        path.write_bytes(base64.b64decode(taken["data"]))


@pytest.fixture(scope="session")
def page() -> Iterator[Page]:
    """A page of headless Chromium without a network; skips, saying so, where there is none."""
    browser = next((found for name in _NAMES if (found := shutil.which(name))), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        pytest.skip("no Chromium with its chromedriver here: the pages are not looked at in a browser")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen([driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run,
    ):
        try:
            yield from _pages(run, browser, folder)
        finally:
            run.terminate()


def _pages(driver: subprocess.Popen[str], browser: str, folder: str) -> Iterator[Page]:
    port = ""
    for line in driver.stdout or ():
        if "successfully on port" in line:
            port = line.rstrip().rstrip(".").rsplit(" ", 1)[1]
            break
    flags = [
        "--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", f"--user-data-dir={folder}",
        "--no-first-run", "--disable-background-networking", "--proxy-server=127.0.0.1:9",
    ]  # fmt: skip
    wishes = {
        "browserName": "chrome", "goog:chromeOptions": {"binary": browser, "args": flags},
        "goog:loggingPrefs": {"browser": "ALL"},
    }  # fmt: skip
    address = f"http://127.0.0.1:{port}"
    session = Page(address).call("POST", "/session", {"capabilities": {"alwaysMatch": wishes}})
    opened = Page(f"{address}/session/{session['sessionId']}")
    opened.cdp("Network.enable")
    opened.cdp("Network.emulateNetworkConditions", offline=True, latency=0, downloadThroughput=0, uploadThroughput=0)
    try:
        yield opened
    finally:
        opened.call("DELETE", "")


@pytest.fixture
def opened(page: Page, tmp_path: Path) -> Callable[..., Page]:
    """Write a page's text to a file and open it."""

    def go(text: str, *, width: int = 1200, dark: bool = False, touch: bool = False) -> Page:
        path = tmp_path / "page.html"
        path.write_text(text, encoding="utf-8")
        page.look(width=width, dark=dark, touch=touch)
        page.open(path)
        return page

    return go
