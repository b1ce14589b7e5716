"""Helpers of the teachers' tests: a row of a text, and a server that misbehaves on purpose."""

import json
import socket
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from legible.documents import Document
from legible.labels import Label, Mark
from legible.languages.base import Row
from legible.teachers.http import LARGEST_ANSWER


class Handler(BaseHTTPRequestHandler):
    """One request to the server; `passage` is the text that was asked about."""

    protocol_version = "HTTP/1.1"
    passage = ""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.passage = body["messages"][0]["content"].split("<passage>\n")[1].removesuffix("\n</passage>")
        self.server.owner.serve(self, body)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def row_of(text: str, **labels: str) -> Row:
    """A row whose text, with labels by kind, is all that a teacher sees."""
    known = {kind: Label((Mark(value),)) for kind, value in labels.items()}
    return Row(Document(f"doc {text}", text, labels=known), 3, len(text), max(0, len(text) - 8), 5, 4)


def reply(status: int, body: Any, **headers: str) -> Behaviour:
    """Answers with a status and a body: bytes, or an object as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def chat(text: str | None, finish: str = "stop", **message: Any) -> Any:
    """An answer in the form of OpenAI's chat completions."""
    return {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]}


def claude(text: str, stop: str = "end_turn") -> Any:
    """An answer in the form of Anthropic's messages."""
    return {"content": [{"type": "text", "text": text}], "stop_reason": stop}


def cut_connection(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def half_a_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    for _ in range(100):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.05)


def hang(handler: Handler) -> None:
    time.sleep(1.0)


def no_end(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(3 * LARGEST_ANSWER // 65536):
        try:
            handler.wfile.write(b"x" * 65536)
        except OSError:
            return
    handler.close_connection = True


def broken_gzip(handler: Handler) -> None:
    reply(200, b"this is not gzip", content_encoding="gzip")(handler)


class Server:
    """A local endpoint that behaves as told, one behaviour a request; the last one repeats."""

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = [reply(200, chat("Someone is at the park."))]
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.owner = self  # type: ignore[attr-defined]
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, handler: Handler, body: Any) -> None:
        with self._lock:
            self.requests.append((handler.path, {k.lower(): v for k, v in handler.headers.items()}, body))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        try:
            behave(handler)
        except OSError:
            handler.close_connection = True
        finally:
            with self._lock:
                self.running -= 1

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()
