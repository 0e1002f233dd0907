"""A real browser without a window: Chromium, spoken to by its DevTools protocol."""

from __future__ import annotations

import asyncio
import base64
import shutil
import subprocess
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import aiohttp

if TYPE_CHECKING:
    from pathlib import Path

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
SECONDS = 60


def program() -> str | None:
    """Return the browser of this machine, None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@dataclass
class Seen:
    """What a browser made of a page."""

    requests: list[str] = field(default_factory=list)
    complaints: list[str] = field(default_factory=list)
    widths: dict[int, int] = field(default_factory=dict)
    """The window's width to that of what is in it."""
    background: dict[str, str] = field(default_factory=dict)
    """The colour scheme to the colour behind the text."""
    pictures: dict[tuple[int, str], bytes] = field(default_factory=dict)
    text: str = ""


class Tab:
    """One page of a running browser."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse, seen: Seen) -> None:
        """Take its connection, and the list that gets its events."""
        self._socket = socket
        self._seen = seen
        self._number = 0

    async def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and return its result."""
        self._number += 1
        await self._socket.send_json({"id": self._number, "method": method, "params": parameters})
        return await self._until(lambda message: message.get("id") == self._number)

    async def event(self, method: str) -> None:
        """Wait until the browser tells of it."""
        await self._until(lambda message: message.get("method") == method)

    async def value(self, expression: str) -> Any:
        """Return what an expression is in the page."""
        message = await self.ask("Runtime.evaluate", expression=expression, returnByValue=True)
        return message["result"]["value"]

    async def _until(self, wanted: Any) -> dict[str, Any]:
        while True:
            message = await self._socket.receive_json(timeout=SECONDS)
            facts = message.get("params", {})
            if message.get("method") == "Network.requestWillBeSent":
                self._seen.requests.append(facts["request"]["url"])
            elif message.get("method") in {"Log.entryAdded", "Runtime.exceptionThrown", "Runtime.consoleAPICalled"}:
                self._seen.complaints.append(str(facts))
            if wanted(message):
                assert "error" not in message, message
                return dict(message.get("result", {}))


def look(file: Path, profile: Path, widths: tuple[int, ...]) -> Seen:
    """Open *file* in a browser with a new *profile*, in both colour schemes and each of the *widths*."""
    name = program()
    assert name
    command = [
        name,
        "--headless",
        "--no-sandbox",  # root may not have one
        "--disable-gpu",
        "--hide-scrollbars",
        "--remote-debugging-port=0",
        "--no-first-run",
        "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
        f"--user-data-dir={profile}",
        "about:blank",
    ]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        try:
            return asyncio.run(_look(file, _port(profile / "DevToolsActivePort"), widths))
        finally:
            process.terminate()


def _port(door: Path) -> str:
    """Wait until the browser has written where it listens."""
    deadline = time.monotonic() + SECONDS
    while not door.exists() or "\n" not in door.read_text():
        assert time.monotonic() < deadline, "the browser does not start"
        time.sleep(0.05)
    return door.read_text().splitlines()[0]


async def _look(file: Path, port: str, widths: tuple[int, ...]) -> Seen:
    seen = Seen()
    async with aiohttp.ClientSession() as session:
        async with session.get(f"http://127.0.0.1:{port}/json/list") as answer:
            (page,) = [item for item in await answer.json() if item["type"] == "page"]
        async with session.ws_connect(page["webSocketDebuggerUrl"], max_msg_size=0) as socket:
            tab = Tab(socket, seen)
            for part in ("Page", "Network", "Log", "Runtime"):
                await tab.ask(f"{part}.enable")
            await tab.ask("Page.navigate", url=file.as_uri())
            await tab.event("Page.loadEventFired")
            seen.text = await tab.value("document.body.innerText")
            for scheme in ("light", "dark"):
                await tab.ask("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
                seen.background[scheme] = await tab.value("getComputedStyle(document.body).backgroundColor")
                for width in widths:
                    await tab.ask("Emulation.setDeviceMetricsOverride", width=width, height=900, deviceScaleFactor=1, mobile=False)
                    seen.widths[width] = await tab.value("document.documentElement.scrollWidth")
                    picture = await tab.ask("Page.captureScreenshot", captureBeyondViewport=True)
                    seen.pictures[width, scheme] = base64.b64decode(picture["data"])
    return seen
