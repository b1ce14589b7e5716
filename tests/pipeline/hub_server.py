"""A hub on loopback: the endpoints that the real client asks for, over folders that a test has written.

What it does is counted and can be made to fail: a connection that breaks in the middle of a file, a gated repository.
"""

import hashlib
import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event, Thread
from urllib.parse import unquote, urlsplit

NOT_FOUND = "RepoNotFound"


@dataclass
class Hub:
    """What is served, and what was asked for.

    root: holds OWNER/NAME/ for every repository.
    gated: repositories that give their files to nobody; the status is 401 without a token, 403 with one.
    broken: file name -> how many bytes of it are sent before the connection breaks, once.
    stalled: file name -> an event that is set when its first half is out; the second half never comes.
    served: bytes sent of each OWNER/NAME/FILE; ranges: the first bytes that were asked for beyond 0.
    """

    root: Path
    gated: set[str] = field(default_factory=set)
    broken: dict[str, int] = field(default_factory=dict)
    stalled: dict[str, Event] = field(default_factory=dict)
    served: Counter[str] = field(default_factory=Counter)
    ranges: list[int] = field(default_factory=list)
    url: str = ""

    def files(self, name: str) -> dict[str, Path]:
        folder = self.root / name
        return {str(path.relative_to(folder)): path for path in sorted(folder.rglob("*")) if path.is_file()}

    def commit(self, name: str) -> str:
        told = "".join(f"{file} {path.stat().st_size}\n" for file, path in self.files(name).items())
        return hashlib.sha1(f"{name}\n{told}".encode()).hexdigest()

    @contextmanager
    def serving(self) -> Iterator["Hub"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        server.daemon_threads = True
        thread = Thread(target=server.serve_forever, daemon=True)
        thread.start()
        self.url = f"http://127.0.0.1:{server.server_port}"
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *_: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self.answer(body=False)

            def do_GET(self) -> None:
                self.answer(body=True)

            def answer(self, *, body: bool) -> None:
                parts = unquote(urlsplit(self.path).path).strip("/").split("/")
                if parts[:2] == ["api", "models"]:
                    self.listing("/".join(parts[2:4]), parts[4:])
                elif len(parts) > 4 and parts[2] == "resolve":
                    self.file("/".join(parts[:2]), "/".join(parts[4:]), body=body)
                else:
                    self.refuse(404, "EntryNotFound")

            def listing(self, name: str, rest: list[str]) -> None:
                if not (hub.root / name).is_dir():
                    self.refuse(404 if self.headers.get("authorization") else 401, NOT_FOUND)
                    return
                files = [(file, path.stat().st_size, _oid(path)) for file, path in hub.files(name).items()]
                if rest[:1] == ["tree"]:
                    self.json([{"type": "file", "path": f, "size": s, "oid": oid} for f, s, oid in files])
                    return
                siblings = [{"rfilename": f, "size": s, "blobId": oid} for f, s, oid in files]
                self.json({"id": name, "sha": hub.commit(name), "siblings": siblings, "private": False})

            def file(self, name: str, file: str, *, body: bool) -> None:
                path = hub.root / name / file
                if name in hub.gated:
                    self.refuse(403 if self.headers.get("authorization") else 401, "GatedRepo")
                    return
                if not path.is_file():
                    self.refuse(404, "EntryNotFound" if (hub.root / name).is_dir() else NOT_FOUND)
                    return
                data, first = path.read_bytes(), 0
                if (asked := self.headers.get("range")) and body:
                    first = int(asked.removeprefix("bytes=").partition("-")[0])
                    hub.ranges.append(first)
                self.send_response(206 if first else 200)
                for key, value in {
                    "X-Repo-Commit": hub.commit(name),
                    "ETag": f'"{_oid(path)}"',
                    "Accept-Ranges": "bytes",
                    "Content-Length": str(len(data) - first),
                    **({"Content-Range": f"bytes {first}-{len(data) - 1}/{len(data)}"} if first else {}),
                }.items():
                    self.send_header(key, value)
                self.end_headers()
                if body:
                    self.send(name, file, data[first:])

            def send(self, name: str, file: str, data: bytes) -> None:
                if (sent := hub.broken.pop(file, None)) is not None:
                    data, self.close_connection = data[:sent], True
                stalled = hub.stalled.get(file)
                if stalled is not None:
                    data, self.close_connection = data[: len(data) // 2], True
                self.wfile.write(data)
                self.wfile.flush()
                hub.served[f"{name}/{file}"] += len(data)
                if stalled is not None:
                    stalled.set()
                    self.connection.settimeout(60)
                    self.rfile.read(1)  # until the client is gone

            def json(self, value: object) -> None:
                data = json.dumps(value).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(data)))
                self.end_headers()
                self.wfile.write(data)

            def refuse(self, status: int, code: str) -> None:
                self.send_response(status)
                self.send_header("X-Error-Code", code)
                self.send_header("X-Error-Message", f"refused by the test's hub: {code}")
                self.send_header("Content-Length", "0")
                self.end_headers()

        return Handler


def _oid(path: Path) -> str:
    return hashlib.sha1(path.read_bytes()).hexdigest()
