"""What the server's and the page's tests share: the shipped pair behind an app, a client, a browser that visits it."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving import OWN, TOKEN

from legible.reading.reader import Reader, load
from legible.serve.app import create_app
from legible.serve.settings import Settings

if TYPE_CHECKING:  # the page's tests skip where there is no playwright; the server's run
    from browsing import Visitor
    from playwright.sync_api import Browser


@pytest.fixture(scope="session")
def reader() -> Reader:
    return load("builtin")


@pytest.fixture(scope="session")
def app(reader: Reader) -> FastAPI:
    return create_app({"builtin": reader}, Settings(token=TOKEN))


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """Asks with the token, from this machine's own name."""
    with TestClient(app, base_url="http://127.0.0.1", headers=OWN) as open_:
        yield open_


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """The address of a server process that reads with the shipped pair, twice."""
    from browsing import serving

    with serving("builtin", "builtin") as address:
        yield address


@pytest.fixture(scope="module")  # no longer: while the driver runs, no other test of this thread can run an event loop
def browser() -> Iterator["Browser"]:
    from browsing import find_browser
    from playwright.sync_api import sync_playwright

    path = find_browser()
    if path is None:
        pytest.skip("no Chromium or Chrome on this machine")
    with sync_playwright() as driver:
        found = driver.chromium.launch(executable_path=path, args=["--no-sandbox"])
        yield found
        found.close()


@pytest.fixture
def visitor(browser: "Browser", base: str) -> Iterator["Visitor"]:
    """A fresh browser context; the test fails for anything that it noted."""
    from browsing import Visitor

    found = Visitor(browser, base)
    yield found
    found.close()
