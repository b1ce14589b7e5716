"""What the server's tests share: the shipped pair behind an app, and a client with its token."""

from collections.abc import Iterator

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient
from serving import TOKEN

from legible.analysis.read import Reader, load
from legible.serve.app import create_app
from legible.serve.settings import Settings


@pytest.fixture(scope="session")
def reader() -> Reader:
    return load("builtin")


@pytest.fixture(scope="session")
def app(reader: Reader) -> FastAPI:
    return create_app({"builtin": reader}, Settings(token=TOKEN))


@pytest.fixture(scope="session")
def client(app: FastAPI) -> Iterator[TestClient]:
    """Asks with the token, from this machine's own name."""
    with TestClient(app, base_url="http://127.0.0.1", headers={"authorization": f"Bearer {TOKEN}"}) as open_:
        yield open_
