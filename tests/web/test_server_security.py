"""Who is let in: tokens, hosts, origins, codes, and the addresses that a server may have."""

import socket
import time

import pytest
from fastapi.testclient import TestClient
from serving import OWN, TOKEN

from legible.errors import UsageError
from legible.serve.app import WEB, create_app
from legible.serve.launch import Address, is_loopback
from legible.serve.pages import load_pages
from legible.serve.security import Codes, is_api, same


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
