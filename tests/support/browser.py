"""A headless Chromium, driven over its DevTools protocol, so that a test can wait for what scripts put on a page."""

import asyncio
import base64
import os
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

import aiohttp
import pytest

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="no chromium here (apt-get install chromium)")
FLAGS = ("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--remote-debugging-port=0")
WAIT_SECONDS = 90
CLICK = "document.querySelector('{}')?.dispatchEvent(new MouseEvent('click', {{bubbles: true}}))"
CLICK_SECONDS = 3.0
RELOAD_SECONDS = 40.0
LARGEST_PICTURE = 150_000
"""Bytes; the pictures of the docs are part of the repository."""


def picture_of(name: str, folder: Path) -> Path:
    """Where a test writes a picture of the docs: into the docs themselves in `make pictures`, else into ``folder``."""
    return Path(os.environ.get("TUNEKIT_PICTURES", folder)).absolute() / f"{name}.png"


class Browser:
    """A context manager; ``profile`` is an empty folder."""

    def __init__(self, profile: Path) -> None:
        self.profile = profile

    def __enter__(self) -> "Browser":
        command = [CHROMIUM, *FLAGS, "--window-size=2400,1600", f"--user-data-dir={self.profile}", "about:blank"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.process.kill()
        self.process.wait()

    def read(
        self,
        url: str,
        wanted: Sequence[str],
        cookies: Mapping[str, str] | None = None,
        click: str | None = None,
        picture: Path | None = None,
        size: tuple[int, int] = (1200, 700),
    ) -> str:
        """The text of the page at ``url`` once it holds all of ``wanted``, or after WAIT_SECONDS.

        What ``click`` selects is clicked until then, since a click on a page that is not ready is lost. The page, in a
        window of ``size`` pixels, is written to ``picture`` as PNG.
        """
        return asyncio.run(self._read(url, wanted, cookies or {}, click, picture, size))

    def value(self, url: str, expression: str, size: tuple[int, int]) -> object:
        """What an expression of JavaScript is on the page at ``url``, once loaded, in a window of ``size`` pixels."""
        return asyncio.run(self._value_at(url, expression, size))

    async def _value_at(self, url: str, expression: str, size: tuple[int, int]) -> object:
        deadline = time.monotonic() + WAIT_SECONDS
        async with aiohttp.ClientSession() as http:
            page = await self._page(http, deadline)
            async with http.ws_connect(page, max_msg_size=0) as socket:
                await _resize(socket, size)
                await _ask(socket, "Page.navigate", url=url)
                while await _value(socket, "document.readyState + ' ' + location.href") != f"complete {url}":
                    if time.monotonic() > deadline:
                        raise TimeoutError(f"{url} has not loaded")
                    await asyncio.sleep(0.2)
                return await _value(socket, expression)

    async def _read(
        self,
        url: str,
        wanted: Sequence[str],
        cookies: Mapping[str, str],
        click: str | None,
        picture: Path | None,
        size: tuple[int, int],
    ) -> str:
        deadline = time.monotonic() + WAIT_SECONDS
        async with aiohttp.ClientSession() as http:
            page = await self._page(http, deadline)
            async with http.ws_connect(page, max_msg_size=0) as socket:
                for name, value in cookies.items():
                    await _ask(socket, "Network.setCookie", name=name, value=value, url=url)
                if picture:
                    await _resize(socket, size)
                text, loaded = "", float("-inf")
                while time.monotonic() < deadline and not all(one in text for one in wanted):
                    if time.monotonic() - loaded > RELOAD_SECONDS:  # a page that failed to load does not try again
                        await _ask(socket, "Page.navigate", url="about:blank")
                        await _ask(socket, "Page.navigate", url=url)
                        loaded = time.monotonic()
                    if click:
                        await _value(socket, CLICK.format(click))
                    await asyncio.sleep(CLICK_SECONDS if click else 0.5)
                    text = str(await _value(socket, "document.body.innerText") or "")
                if picture:
                    await asyncio.sleep(2)  # what moves comes to rest
                    shot = await _ask(socket, "Page.captureScreenshot", format="png")
                    picture.write_bytes(base64.b64decode(shot["data"]))
                return text

    async def _page(self, http: aiohttp.ClientSession, deadline: float) -> str:
        """The address of the first tab's socket."""
        port = self.profile / "DevToolsActivePort"
        while time.monotonic() < deadline:
            try:
                number = port.read_text().splitlines()[0]
                async with http.get(f"http://127.0.0.1:{number}/json/list") as answer:
                    return next(one["webSocketDebuggerUrl"] for one in await answer.json() if one["type"] == "page")
            except (OSError, IndexError, StopIteration, aiohttp.ClientError):
                await asyncio.sleep(0.2)
        raise TimeoutError("chromium has not started")


async def _resize(socket: aiohttp.ClientWebSocketResponse, size: tuple[int, int]) -> None:
    width, height = size
    shape = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
    await _ask(socket, "Emulation.setDeviceMetricsOverride", **shape)


async def _value(socket: aiohttp.ClientWebSocketResponse, expression: str) -> object:
    """What an expression of JavaScript is on the page; None where it can't be evaluated (yet)."""
    answer = await _ask(socket, "Runtime.evaluate", expression=expression)
    return answer.get("result", {}).get("value")


async def _ask(socket: aiohttp.ClientWebSocketResponse, method: str, **params: Any) -> dict[str, Any]:
    await socket.send_json({"id": 1, "method": method, "params": params})
    while True:
        answer = await socket.receive_json()
        if answer.get("id") == 1:
            return answer.get("result", {})
