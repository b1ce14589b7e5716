"""Helpers of the page's tests: a server process, a browser that notes what it should not see, answers to put in."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from playwright.sync_api import Browser, BrowserContext, Page, Route

TOKEN = "a-token-of-the-page-0123456789"
TEXT = "Our hero Pavel rested beside the desert. He kept a hammer."
VIEWS = ("read", "matrix", "compare", "steer", "evaluate", "share")
HOSTILE = (
    "<img src=x onerror=alert(1)><script>alert(2)</script>"
    "<a href='javascript:alert(3)'>x</a> \x1b[31mred\x07 \u202eevil\u2066 \u200b end"
)
SHOWN = r"\x1b[31mred\x07 \u202eevil\u2066 \u200b end"  # how the acting characters of it are spelled out


def find_browser() -> str | None:
    """A Chromium of this machine."""
    return next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)


@contextmanager
def serving(*checkpoints: str) -> Iterator[str]:
    """The address of a real `legible serve` process on a free port, without its token."""
    command = [sys.executable, "-m", "legible.cli.main", "serve", *checkpoints, "--no-open", "--port", "0"]
    environment = {**os.environ, "LEGIBLE_TOKEN": TOKEN, "OMP_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        [*command, "--threads", "1"], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.fullmatch(rf"(http://127\.0\.0\.1:\d+)/#token={TOKEN}\n", line)
        try:
            assert found, f"expected the address, found {line!r}{process.communicate()[1] if not line else ''}"
            yield found[1]
        finally:
            process.terminate()
            process.communicate(timeout=30)


class Visitor:
    """A browser context that notes requests to elsewhere, console errors, page errors and dialogs."""

    def __init__(self, browser: Browser, base: str, **settings: Any) -> None:
        self.base = base
        self.context: BrowserContext = browser.new_context(
            **{"viewport": {"width": 1280, "height": 900}, "reduced_motion": "reduce", **settings}
        )
        self.noted: list[str] = []
        self.context.on("request", self._requested)
        self.context.on("page", self._watch)

    def _requested(self, request: Any) -> None:
        if not request.url.startswith((self.base + "/", "blob:", "data:", "file:")):
            self.noted.append(f"asked {request.url}")
        if TOKEN in request.url:
            self.noted.append(f"the token stands in an address: {request.url}")

    def _watch(self, page: Page) -> None:
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: self.noted.append(f"page error: {error}"))
        page.on("dialog", lambda dialog: (self.noted.append(f"dialog: {dialog.message}"), dialog.dismiss()))
        page.on("console", self._said)

    def _said(self, message: Any) -> None:
        expected = message.text.startswith("Failed to load resource: the server responded with a status of")
        if message.type == "error" and not expected:  # an error status is the test's own doing, and shown by the page
            self.noted.append(f"console: {message.text}")

    def open(self, fragment: str = f"#token={TOKEN}") -> Page:
        """A new page."""
        page = self.context.new_page()
        page.goto(f"{self.base}/{fragment}")
        return page

    def reading(self, text: str = TEXT) -> Page:
        """A new page that has read a text."""
        page = self.open()
        page.get_by_label("Text for the model to read").fill(text)
        page.get_by_role("button", name="Read", exact=True).click()
        wait_for(page, "tokens read by")
        return page

    def close(self) -> None:
        """Closes the browser's context; fails for anything noted."""
        self.context.close()
        assert self.noted == []


def wait_for(page: Page, words: str) -> None:
    """Until the status line says something."""
    page.locator("#status", has_text=words).wait_for()


def show(page: Page, view: str) -> None:
    """Open a view by its tab."""
    page.locator(f"#tab-{view}").click()


def answering(page: Page, path: str, body: Any, status: int = 200, **headers: str) -> None:
    """Answer a path with JSON in the server's place."""
    page.context.route(
        f"**{path}",
        lambda route: route.fulfill(status=status, json=body, headers=headers),
    )


def streaming(page: Page, path: str, frames: list[dict[str, Any]]) -> None:
    """Answer a path with a stream in the server's place."""
    body = "".join(f"data: {json.dumps(frame)}\n\n" for frame in frames) + "data: [DONE]\n\n"

    def answer(route: Route) -> None:
        route.fulfill(status=200, content_type="text/event-stream", body=body)

    page.context.route(f"**{path}", answer)


def compose(page: Page, text: str) -> None:
    """Put a text into the form, which is folded away once a text is read."""
    if not page.locator("#text").is_visible():
        page.get_by_text("Read another text").click()
    page.locator("#text").fill(text)


def options(page: Page) -> None:
    """Unfold the reader's options."""
    page.locator("#composer .settings summary").click()


def list_all(page: Page) -> None:
    """List every reading."""
    page.get_by_role("button", name="List all").click()
    page.locator("#filter").wait_for()


def selected(page: Page) -> list[int]:
    """Positions of the selected tokens."""
    return [int(str(one.get_attribute("data-pos"))) for one in page.locator('#strip [aria-selected="true"]').all()]


def picture(page: Page, folder: Path, name: str) -> None:
    """Keep what the page looks like."""
    page.screenshot(path=folder / f"{name}.png", full_page=True)
