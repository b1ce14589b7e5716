"""Who is let in, what a request may do, and that nothing it sends breaks the server."""

import json
import socket
import time
from contextlib import suppress
from urllib.parse import quote

import httpx
import pytest
import schemathesis
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis.generation.modes import GenerationMode
from serving import TEXT, TOKEN, running, until

from legible.engines.base import Completion
from legible.errors import UsageError
from legible.serve.app import WEB, create_app
from legible.serve.launch import Address, is_loopback
from legible.serve.pages import load_pages
from legible.serve.protocol import PatientProtocol
from legible.serve.security import Codes, is_api, same
from legible.serve.settings import Settings

OWN = {"authorization": f"Bearer {TOKEN}"}
HOSTILE = "<script>alert(1)</script>\x1b[31m\u202e</title><img src=x onerror=alert(1)>"


def api_routes(app):
    """(method, path) of every documented route."""
    paths = app.openapi()["paths"]
    return [
        (method, path.replace("{id}", "x").replace("{source}", "builtin"))
        for path, on in paths.items()
        for method in on
    ]


@pytest.fixture(scope="module")
def stranger(app, client):
    """The same server without a token."""
    return TestClient(app, base_url="http://127.0.0.1")


def test_every_route_without_the_token_answers_401(app, stranger):
    routes = api_routes(app)
    assert len(routes) >= 15
    for method, path in routes:
        for headers in ({}, {"authorization": "Bearer wrong"}, {"x-api-key": TOKEN[:-1]}, {"cookie": f"token={TOKEN}"}):
            if path == "/api/v1/session":
                response = stranger.request(method, path, json={"code": "guessed"}, headers=headers)
            else:
                response = stranger.request(method, path, headers=headers, params={"token": TOKEN})
            assert response.status_code == 401, (method, path, headers)
            assert set(response.json()) == {"error"}
    assert stranger.get("/api/v9/unknown").status_code == 401
    assert stranger.get("/api").status_code == 401


def test_nothing_but_the_page_and_the_description_is_open(app, stranger):
    assert stranger.get("/openapi.json").json()["info"]["title"] == "Legible"
    assert stranger.get("/").status_code == 200
    served = {route.path for route in app.routes if hasattr(route, "path") and not is_api(route.path)}
    assert served == {"/openapi.json", *load_pages(WEB)}  # no address outside the API is a pattern
    for path in ("/docs", "/redoc", "/pyproject.toml", "/../pyproject.toml", "/%2e%2e/%2e%2e/etc/passwd", "/web/"):
        assert stranger.get(path).status_code == 404


@pytest.mark.parametrize("header", [OWN, {"x-api-key": TOKEN}, {"authorization": f"bearer {TOKEN}"}])
def test_the_token_is_taken_from_either_header(stranger, header):
    assert stranger.get("/api/v1/sources", headers=header).status_code == 200


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "LOCALHOST:8377", "[::1]:1", "127.0.0.1:80"])
def test_our_own_names_are_answered(stranger, host):
    assert stranger.get("/api/v1/sources", headers=OWN | {"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example", "127.0.0.1:80@evil.example", "127.0.0.2",
     "localhost.", "127.0.0.1:", "[::1", "::1", "0.0.0.0", "", "127.0.0.1, evil.example"],
)  # fmt: skip
def test_a_foreign_host_is_refused_everywhere(stranger, host):
    for path in ("/", "/openapi.json", "/api/v1/sources"):
        response = stranger.get(path, headers=OWN | {"host": host})
        assert response.status_code == 403
        assert set(response.json()) == {"error"}


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "http://127.0.0.1"}, 200),
        ({"origin": "https://127.0.0.1"}, 200),  # a proxy in front speaks TLS
        ({"sec-fetch-site": "same-origin"}, 200),
        ({"origin": "http://evil.example"}, 403),
        ({"origin": "http://127.0.0.1:9"}, 403),
        ({"origin": "http://127.0.0.1.evil.example"}, 403),
        ({"origin": "null"}, 403),
        ({"origin": "http://["}, 403),
        ({"origin": "file://127.0.0.1"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
    ],
)
def test_only_our_own_page_may_ask_from_a_browser(stranger, headers, status):
    assert stranger.get("/api/v1/sources", headers=OWN | headers).status_code == status
    preflight = stranger.options("/api/v1/read", headers=headers)
    assert preflight.status_code in (401, 403)
    assert not any(name.startswith("access-control") for name in preflight.headers)


@pytest.mark.parametrize("path", ["/", "/api/v1/sources", "/api/v1/nothing", "/nothing", "/openapi.json"])
def test_every_answer_carries_the_headers(client, stranger, path):
    for response in (client.get(path), stranger.get(path, headers={"host": "evil.example"})):
        policy = dict(part.split(" ", 1) for part in response.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["script-src"] == "'self'"
        assert not any("unsafe" in rule or "http" in rule or "*" in rule for rule in policy.values())
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["referrer-policy"] == "no-referrer"
        assert policy["frame-ancestors"] == "'none'"
    assert client.get("/api/v1/sources").headers["cache-control"] == "no-store"


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

    def generate(self, vectors, *, samples, **_):
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


def test_a_code_opens_the_page_once(app, stranger):
    code = app.state.codes.issue()
    assert stranger.post("/api/v1/session", json={"code": code}).json() == {"token": TOKEN}
    assert stranger.post("/api/v1/session", json={"code": code}).status_code == 401
    other = {"json": {"code": app.state.codes.issue()}, "headers": {"origin": "http://evil.example"}}
    assert stranger.post("/api/v1/session", **other).status_code == 403


def test_an_old_code_is_worth_nothing(monkeypatch):
    codes = Codes()
    old = codes.issue()
    now = time.monotonic()
    monkeypatch.setattr("legible.serve.security.time.monotonic", lambda: now + 121)
    assert not codes.redeem(old)


def test_strings_are_compared_whatever_they_hold():
    assert same("ä\ud800", "ä\ud800")
    assert not same("a", "b")
    assert not same("a", "aa")


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


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (Address("0.0.0.0"), "Add --allow-remote"),
        (Address("example.org", allow_remote=False, token="x" * 32), "can be reached from other machines"),
        (Address("::", allow_remote=True), "needs a token that you choose"),
        (Address("0.0.0.0", allow_remote=True, token="short"), "5 characters, expected at least 16"),
        (Address(token="with a space and more"), "letters, digits"),
    ],
)
def test_unsafe_addresses_are_refused(address, said):
    with pytest.raises(UsageError, match=said):
        address.settings()


def test_a_remote_server_answers_to_addresses_and_the_names_given(reader):
    given = Address("0.0.0.0", allow_remote=True, token=TOKEN, names=("box.local",)).settings()
    client = TestClient(create_app({"builtin": reader}, given), headers=OWN)
    statuses = {
        host: client.get("/api/v1/sources", headers={"host": host}).status_code
        for host in (
            "192.168.1.5:8377",
            "[fe80::1]:1",
            "box.local",
            "BOX.local:80",
            "localhost",
            "evil.example",
            "1.2.3",
        )
    }
    assert [host for host, status in statuses.items() if status != 200] == ["evil.example", "1.2.3"]
    assert all(is_loopback(host) for host in ("127.0.0.1", "::1", "localhost", "127.8.8.8"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "box.local", "10.0.0.1"))


def test_the_program_refuses_to_be_reached_by_accident(legible, monkeypatch):
    monkeypatch.delenv("LEGIBLE_TOKEN", raising=False)
    done = legible("serve", "--host", "0.0.0.0", "--no-open")
    assert (done.code, done.out) == (2, "")
    assert "--allow-remote" in done.err
    assert legible("serve", "--host", "0.0.0.0", "--allow-remote", "--no-open").code == 2
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = legible("serve", "--port", str(taken.getsockname()[1]), "--no-open")
    assert (done.code, done.out) == (2, "")
    assert "--port 0 takes a free one" in done.err


def fuzz(app, examples):
    """Send to every route what its description allows and what it does not; (route, status) of every answer."""
    seen = set()
    calm = settings(max_examples=examples, deadline=None, database=None, derandomize=True,
                    phases=[Phase.generate], suppress_health_check=list(HealthCheck))  # fmt: skip
    with running(app) as url:
        schema = schemathesis.openapi.from_dict(app.openapi())
        for found in schema.get_all_operations():
            operation = found.ok()
            for mode in GenerationMode:

                @calm
                @given(case=operation.as_strategy(generation_mode=mode))
                def ask(case):
                    if mode is GenerationMode.POSITIVE:  # noqa: B023 - called at once
                        case.body = aimed(case.body)
                    response = case.call(base_url=url, headers=OWN, timeout=60)
                    seen.add((case.operation.label, response.status_code))
                    allowed = response.status_code < 500 or response.status_code == 501  # steering may be absent
                    assert allowed, (case.as_curl_command(), response.text)

                with suppress(Unsatisfiable):  # nothing can be wrong with a route that takes nothing
                    ask()
    return seen


def aimed(body):
    """A body that gets past what the description cannot say: a source that is there, one prompt, a vector's width."""
    if not isinstance(body, dict):
        return body
    body = {key: value for key, value in body.items() if key not in ("source", "modelId", "nlaSourceId")}
    if "explanations" in body:
        return {"explanations": body["explanations"], "vector": [1.0] * 128}
    if "text" in body or "messages" in body:
        body = {key: value for key, value in body.items() if key != "messages"} | {"text": body.get("text") or TEXT}
    if "max_tokens" in body:
        body["max_tokens"] = min(body["max_tokens"] or 1, 16)
    if "positions" in body:
        body["positions"] = "-1" if isinstance(body["positions"], str) else [0]
    if "vectors" in body:
        body["vectors"] = [[float(index % 7 - 3)] * 127 + [1.0] for index in range(min(3, len(body["vectors"])))]
    return body


def test_no_request_the_description_allows_or_forbids_breaks_the_server(reader, caplog):
    app = create_app({"builtin": reader}, Settings(token=TOKEN))
    seen = fuzz(app, 3)
    assert not [record for record in caplog.records if record.name.startswith("legible.serve")]  # nor streams or jobs
    assert {label for label, _ in seen} == {
        f"{method.upper()} {path}" for path, on in app.openapi()["paths"].items() for method in on
    }
    assert {("POST /api/v1/read", 200), ("POST /api/v1/read", 422), ("POST /api/nla/explain", 422)} <= seen


@pytest.mark.slow
def test_many_more_requests_do_not_break_it_either(reader, caplog):
    assert fuzz(create_app({"builtin": reader}, Settings(token=TOKEN)), 100)
    assert not [record for record in caplog.records if record.name.startswith("legible.serve")]
