"""Helpers of the server's tests: a token, a text, a real server in a thread, waiting for another thread."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from legible.serve.launch import configured

TOKEN = "a-token-of-the-tests-0123456789"
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
