"""Bad, hostile, endless and too many requests are answered with a reason, and nothing they hold acts."""

import json
import socket
import time
from urllib.parse import quote

import httpx
import pytest
from fastapi.testclient import TestClient
from serving import OWN, TEXT, TOKEN, running, until

from legible.engines.base import Completion
from legible.serve.app import create_app
from legible.serve.protocol import PatientProtocol
from legible.serve.settings import Settings

HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e</title><img src=x onerror=alert(1)>"


def test_a_failure_of_ours_says_nothing_of_the_inside(client, monkeypatch, caplog):
    def broken(*_, **__):
        raise KeyError("secret detail")

    monkeypatch.setattr("legible.serve.routes._sources", broken)
    outside = client.get("/api/v1/sources")
    monkeypatch.undo()
    monkeypatch.setattr("legible.serve.reading._settled", broken)
    inside = client.post("/api/v1/score", json={"text": TEXT, "pos": 0, "explanations": ["a"]})
    assert inside.status_code == 200  # not on its way
    inside = client.post("/api/v1/read", json={"text": TEXT})
    for response in (outside, inside):
        assert (response.status_code, response.json()) == (500, {"error": "the server failed; its log says why."})
        assert "content-security-policy" in response.headers
    assert "secret detail" in caplog.text


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("read", b'{"text": "\\ud800"}', 422),
        ("read", b'{"text": "a", "\\ud800": 1}', 422),
        ("read", b'{"text": NaN}', 422),
        ("read", b'{"text": "a", "temperature": NaN}', 422),
        ("read", b'{"text": "a", "temperature": 1e999}', 422),
        ("read", b'{"text": "a", "temperature": 5e-324}', 422),
        ("read", b"[" * 100_000, 400),
        ("read", b"\xff", 400),
        ("read", b'{"text": "a"', 422),
        ("read", b"1" * 5000, 400),
        ("read", b"null", 422),
        ("read", b"", 422),
        ("read", b'{"text": "a", "unknown": 1}', 422),
        ("read", b'{"text": "a", "messages": [{"role": "user", "content": "b"}]}', 422),
        ("read", b'{"text": "a", "positions": [1000000000000]}', 422),
        ("read", b'{"text": "a", "positions": "0:9999999999999999999999999"}', 400),
        ("read", b'{"text": "a", "samples": 1000000}', 422),
        ("read", b'{"text": "a", "seed": -1}', 422),
        ("read", b'{"text": "\\u0000 \\u0000"}', 200),
        ("read", b'{"text": "   "}', 400),
        ("read", json.dumps({"text": "a" * 20_001}).encode(), 422),
        ("read", json.dumps({"text": "a " * 9000}).encode(), 400),
        ("read", json.dumps({"text": TEXT, "positions": [0, 1] * 1024, "samples": 16}).encode(), 200),
        ("explain", json.dumps({"vectors": [[0.0] * 128]}).encode(), 400),
        ("explain", json.dumps({"vectors": [[1e30] * 128]}).encode(), 400),
        ("explain", json.dumps({"vectors": [[1.0] * 127]}).encode(), 400),
        ("explain", json.dumps({"vectors": [[1.0] * 128] * 65}).encode(), 422),
        ("explain", b'{"vectors": [[Infinity]]}', 422),
        ("score", json.dumps({"text": TEXT, "pos": 99, "explanations": ["a"]}).encode(), 400),
        ("score", json.dumps({"text": TEXT, "explanations": ["a"]}).encode(), 422),
        ("score", json.dumps({"text": TEXT, "pos": 0, "explanations": ["a " * 1900]}).encode(), 400),
        ("score", json.dumps({"text": TEXT, "pos": 0, "explanations": ["\u200b", " "]}).encode(), 200),
        ("complete", json.dumps({"text": "a " * 200, "max_tokens": 200}).encode(), 400),
        ("jobs", json.dumps({"texts": []}).encode(), 422),
        ("jobs", json.dumps({"texts": ["a"], "kind": "shell"}).encode(), 422),
    ],
)  # fmt: skip
def test_bad_bodies_are_answered_with_a_reason(client, path, body, status):
    response = client.post(f"/api/v1/{path}", content=body, headers={"content-type": "application/json"})
    assert response.status_code == status, response.text
    if status != 200:
        assert set(response.json()) == {"error"}
        assert 0 < len(response.json()["error"]) <= 1000


def test_hostile_text_comes_back_only_as_json(client):
    answer = client.post("/api/v1/read", json={"text": HOSTILE, "positions": "-1"})
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["text"] == HOSTILE
    for response in (
        client.get(f"/api/v1/jobs/{quote(HOSTILE)}"),
        client.get(f"/api/v1/evaluation/{quote(HOSTILE, safe='')}"),
        client.post("/api/v1/read", json={"text": TEXT, "source": HOSTILE}),
        client.post("/api/v1/read", json={"text": TEXT, HOSTILE: 1}),
        client.post("/api/v1/read", json={"text": TEXT, "positions": HOSTILE}),
    ):
        assert 400 <= response.status_code < 500
        assert response.headers["content-type"] == "application/json"
        assert "\x1b" not in response.json()["error"]
        assert "\u202e" not in response.json()["error"]


class Hostile:
    """A verbalizer that tries to break out of whatever it is shown in."""

    words = f"{HOSTILE}\r\n\r\ndata: [DONE]\n\nevent: error\n\n"

    def generate(self, vectors, keys, *, samples, **_):
        return [[Completion([], [], "stop", 2, self.words, self.words)] * samples for _ in vectors]


def test_hostile_explanations_stay_inside_their_frame(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN))
    app.state.sources["builtin"].engine = Hostile()
    with TestClient(app, base_url="http://127.0.0.1", headers=OWN) as client:
        body = {"text": TEXT + HOSTILE, "positions": "-2:"}
        assert {r["explanation"] for r in client.post("/api/v1/read", json=body).json()["readings"]} == {Hostile.words}
        stream = client.post("/api/v1/read", json=body | {"stream": True})
    frames = [part for part in stream.text.split("\n\n") if part]
    assert all(frame.startswith("data: ") and "\n" not in frame and "\r" not in frame for frame in frames)
    assert frames.index("data: [DONE]") == len(frames) - 1
    readings = [frame for frame in map(json.loads, (f[6:] for f in frames[:-1])) if frame["type"] == "reading"]
    assert [reading["explanation"] for reading in readings] == [Hostile.words] * 2


def test_bodies_beyond_the_limit_are_refused(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN, body_bytes=2000, body_seconds=0.3))
    with running(app) as url, httpx.Client(base_url=url, headers=OWN, timeout=20) as client:
        assert client.post("/api/v1/read", json={"text": "a" * 3000}).status_code == 413

        def parts():
            for _ in range(5):
                yield b" " * 1000

        chunked = client.post("/api/v1/read", content=parts(), headers={"content-type": "application/json"})
        assert chunked.status_code == 413
        assert "too large" in chunked.json()["error"]
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=20) as slow:
            head = ("POST /api/v1/read HTTP/1.1", f"host: {host}", f"x-api-key: {TOKEN}", "content-length: 100")
            slow.sendall("\r\n".join((*head, "content-type: application/json", "", "{")).encode())
            assert b" 408 " in slow.recv(1000)
        assert client.post("/api/v1/read", json={"text": TEXT, "positions": "-1"}).status_code == 200


def test_a_request_that_never_ends_its_head_is_dropped(monkeypatch):
    monkeypatch.setattr(PatientProtocol, "head_seconds", 0.2)
    with running(create_app({}, Settings(token=TOKEN))) as url:
        address = (url.removeprefix("http://").split(":")[0], int(url.rpartition(":")[2]))
        for head in (b"", b"GET / HTTP/1.1\r\nhost: 127"):
            with socket.create_connection(address, timeout=20) as slow:
                slow.sendall(head)
                assert slow.recv(100) == b""
        with httpx.Client(base_url=url) as client:  # whole requests keep their connection
            assert client.get("/").status_code == 200
            time.sleep(0.3)
            assert client.get("/").status_code == 200


def test_a_full_server_answers_429_with_retry_after(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN, queue=1))
    with running(app) as url, httpx.Client(base_url=url, headers=OWN, timeout=20) as client:
        body = {"text": TEXT * 4, "samples": 8, "stream": True}
        with client.stream("POST", "/api/v1/read", json=body) as response:
            next(response.iter_lines())
            refused = client.post("/api/v1/tokenize", json={"text": "a"})
            assert refused.status_code == 429
            assert 1 <= int(refused.headers["retry-after"]) <= 60
        until(lambda: not app.state.worker._live)
        assert client.post("/api/v1/tokenize", json={"text": "a"}).status_code == 200
