"""GGUF files of a hub: the real client against a local server that speaks the hub's endpoints."""

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import ggufs
import pytest

REVISION = "a" * 40
FILES: dict[str, dict[str, bytes]] = {}  # repository -> its files

JOB = """
import sys
from legible.errors import LegibleError
from legible.models import fetching, named
from legible.models.loading import here
from legible.models.named import HubFile, NamedTarget
for name in sys.argv[1:]:
    try:
        if name.startswith("get:"):
            _, sha256, size = name.split(":")
            target = NamedTarget(name="n", short="n", about="", file="tiny.gguf", bytes=int(size), sha256=sha256,
                                 licence="", terms=None, parts=(), hub=HubFile("owner/one", "main", "tiny.gguf"))
            print("got", fetching.fetch(target, "hub").stat().st_size)
        else:
            print("found", sorted(path.name for path in here(name, {})[0].iterdir()))
    except LegibleError as error:
        print("refused", str(error).replace("\\n", " / "))
"""


class Hub(BaseHTTPRequestHandler):
    """What huggingface_hub asks for a model: its files, and each of them."""

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_GET(self) -> None:
        path = self.path.partition("?")[0].removeprefix("/api/models").strip("/")
        repository = "/".join(path.split("/")[:2])
        files = FILES.get(repository)
        if files is None:
            self._send(404, b"", {"X-Error-Code": "RepoNotFound"})
        elif "/resolve/" in path:
            content = files.get(path.split("/", 4)[4])
            if content is None:
                self._send(404, b"", {"X-Error-Code": "EntryNotFound", "X-Repo-Commit": REVISION})
            else:
                etag = f'"{hashlib.sha256(content).hexdigest()}"'
                self._send(200, content, {"X-Repo-Commit": REVISION, "ETag": etag})
        else:
            listed = [{"rfilename": name} for name in files]
            self._send(200, json.dumps({"id": repository, "sha": REVISION, "siblings": listed}).encode(), {})

    def _send(self, code: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(code)
        for key, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(key, value)
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@pytest.fixture
def hub() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Hub)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def run(folder: Path, endpoint: str, *names: str, **env: str) -> list[str]:
    """What a process that knows only this hub says of each name."""
    known = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "hub"), "LEGIBLE_CACHE": str(folder / "cache"), **env}
    command = [sys.executable, "-c", JOB, *names]
    done = subprocess.run(command, env={**os.environ, **known}, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_files_of_the_hub_are_targets_and_several_are_listed_to_choose_from(hub, tmp_path):
    made = ggufs.model("llama")
    data = ggufs.write(tmp_path / "tiny.gguf", made, "llama").read_bytes()
    FILES["owner/one"] = {"README.md": b"x", "tiny.gguf": data}
    FILES["owner/two"] = {"a.Q4.gguf": b"x", "b.Q8.gguf": data}
    sha256 = hashlib.sha256(data).hexdigest()
    one, two, chosen, missing, unknown, got, other = run(
        tmp_path, hub, "owner/one", "owner/two", "owner/two/b.Q8.gguf", "owner/two/c.gguf", "owner/none",
        f"get:{sha256}:{len(data)}", f"get:{'0' * 64}:{len(data)}",
    )  # fmt: skip
    assert "config.json" in one
    assert two == (
        "refused owner/two holds 2 GGUF files; name the one to read: "
        "/     owner/two/a.Q4.gguf /     owner/two/b.Q8.gguf"
    )
    assert "model.safetensors" in chosen
    assert "the repository has no file c.gguf" in missing
    assert "the hub has no such repository" in unknown
    assert got == f"got {len(data)}"
    assert f"what came has the sha256 {sha256}, expected {'0' * 64}" in other

    kept, nothing, fetched = run(tmp_path, hub, "owner/one", "owner/other", f"get:{'0' * 64}:9", HF_HUB_OFFLINE="1")
    assert "config.json" in kept
    assert "HF_HUB_OFFLINE is set and the cache" in nothing
    assert "the hub does not give tiny.gguf of owner/one" in fetched
