"""A headless Chromium, driven over WebDriver, for tests that look at a page as its reader does."""

import base64
import json
import shutil
import subprocess
import tempfile
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync",
         "--disable-background-networking", "--disable-component-update", "--disable-dev-shm-usage"]
LOGS = "goog:loggingPrefs"


def missing() -> str | None:
    """Which program is not installed."""
    return next((name for name in ("chromium", "chromedriver") if shutil.which(name) is None), None)


class Browser:
    """One session at a WebDriver server."""

    def __init__(self, address: str, profile: str, width: int, flags: Sequence[str]):
        self._address = address
        options = {"binary": shutil.which("chromium"), "args": [*FLAGS, *flags, f"--user-data-dir={profile}"],
                   "mobileEmulation": {"deviceMetrics": {"width": width, "height": 844, "pixelRatio": 2.0}}}
        session = self._post("/session", {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options,
                                                                           LOGS: {"browser": "ALL"}}}})
        self._session = f"/session/{session['sessionId']}"

    def open(self, page: Path | str) -> None:
        """A file, or what an address shows."""
        address = page.resolve().as_uri() if isinstance(page, Path) else page
        self._post(f"{self._session}/url", {"url": address})

    def run(self, script: str) -> object:
        """What a script, the body of a function, returns in the page."""
        return self._post(f"{self._session}/execute/sync", {"script": script, "args": []})

    def choose(self, selector: str, file: Path) -> None:
        """A file in an <input type=file>."""
        found = self._post(f"{self._session}/element", {"using": "css selector", "value": selector})
        self._post(f"{self._session}/element/{next(iter(found.values()))}/value", {"text": str(file)})

    def console(self) -> list[str]:
        return [entry["message"] for entry in self._post(f"{self._session}/se/log", {"type": "browser"})]

    def screenshot(self) -> bytes:
        """PNG of what is seen."""
        return base64.b64decode(self._get(f"{self._session}/screenshot"))

    def whole_page(self) -> bytes:
        """PNG of the page from its top to its end."""
        command = {"cmd": "Page.captureScreenshot", "params": {"captureBeyondViewport": True}}
        return base64.b64decode(self._post(f"{self._session}/goog/cdp/execute", command)["data"])

    def print(self) -> bytes:
        """PDF of the page on paper."""
        return base64.b64decode(self._post(f"{self._session}/print", {}))

    def close(self) -> None:
        self._send(urllib.request.Request(self._address + self._session, method="DELETE"))

    def _post(self, path: str, body: dict) -> object:
        return self._send(urllib.request.Request(self._address + path, json.dumps(body).encode(), method="POST"))

    def _get(self, path: str) -> object:
        return self._send(urllib.request.Request(self._address + path))

    def _send(self, request: urllib.request.Request) -> object:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=300) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            raise RuntimeError(f"{request.full_url}: {json.load(error)['value']['message']}") from None


@contextmanager
def browser(width: int, flags: Sequence[str] = ()) -> Iterator[Browser]:
    """A browser with a window so many CSS pixels wide; it ends with the block. flags: more of Chromium's options."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        driver = subprocess.Popen(["chromedriver", "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
                                  text=True)
        try:
            started = next(line for line in driver.stdout if "successfully on port" in line)
            port = started.split("port ")[1].strip(". \n")
            session = Browser(f"http://127.0.0.1:{port}", profile, width, flags)
            try:
                yield session
            finally:
                session.close()
        finally:
            driver.terminate()
            driver.wait(10)
