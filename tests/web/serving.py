"""Helpers of the server's tests: a token, a text, a real server in a thread, waiting, and what an answer says."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import uvicorn
from fastapi import FastAPI

from legible.serve.launch import configured

TOKEN = "a-token-of-the-tests-0123456789"
OWN = {"authorization": f"Bearer {TOKEN}"}
TEXT = "Our hero Pavel rested beside the desert. He kept a hammer."


@contextmanager
def running(app: FastAPI) -> Iterator[str]:
    """The address of a real server on a free port, in a thread of this process."""
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(configured(app))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        until(lambda: server.started)
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join()


def until(holds: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait for something that another thread does."""
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.005)


def events(text: str) -> list[Any]:
    """The frames of an event stream; its end mark is checked."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def as_json(value: Any) -> Any:
    """What is left of a value on its way through JSON."""
    return json.loads(json.dumps(value))


def alike(found: Any, expected: Any) -> bool:
    """Equal, but for the rounding of numbers that were computed in other company."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    return found == (pytest.approx(expected, abs=1e-3) if isinstance(expected, float) else expected)
