"""Who may ask: the token, the Host and Origin of a request, the size of its body, and the headers of every answer.

Threats: a page in the user's own browser that reaches 127.0.0.1, directly or by rebinding its name; another user of
this machine; a client that sends too much or too slowly. The token travels only in request headers, and to the page
in the fragment of its address, which browsers send to no server: it stands in no log and no referrer. There are no
cookies, so nothing is granted to a request for coming from the right browser.
"""

import asyncio
import hmac
import ipaddress
import json
import logging
import secrets
import time
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from legible.serve.settings import Settings

_LOG = logging.getLogger(__name__)

SESSION = "/api/v1/session"
"""The one API path that a code opens instead of the token."""

_CODE_SECONDS = 120.0
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = {
    "content-security-policy": _POLICY,
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=()",
}


def new_token() -> str:
    """A token of 256 random bits, safe in addresses."""
    return secrets.token_urlsafe(32)


class Codes:
    """Codes that open the page once, soon: what a browser's command line shows is then worth nothing to others."""

    def __init__(self) -> None:
        self._open: dict[str, float] = {}

    def issue(self) -> str:
        """A new code."""
        code = secrets.token_urlsafe(24)
        self._open[code] = time.monotonic() + _CODE_SECONDS
        return code

    def redeem(self, code: str) -> bool:
        """Whether the code was issued, is not used yet and not too old; it is used up now."""
        found = [known for known in self._open if same(known, code)]
        return any([self._open.pop(known) > time.monotonic() for known in found])


def same(one: str, other: str) -> bool:
    """Equality in a time that does not say where two strings differ."""
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode("utf-8", "surrogatepass"))


class Refusal(HTTPException):
    """A request that no route answers; an HTTPException, so that one raised while a route reads keeps its status."""


class Guard:
    """Stands before every route: checks Host, Origin and token, limits the body, adds the headers."""

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.settings = settings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, or answer it."""
        if scope["type"] == "lifespan":
            return await self.app(scope, receive, send)
        if scope["type"] != "http":
            return await send({"type": "websocket.close", "code": 1008})
        started = False

        async def marked(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message = {**message, "headers": _with_headers(message.get("headers", ()), scope["path"])}
            await send(message)

        try:
            self._admit(scope)
            body = _Body(receive, self.settings, _headers(scope, b"content-length"))
            await self.app(scope, body.receive, marked)
        except Refusal as refusal:
            if not started:
                await _refuse(marked, refusal)
        except Exception:  # noqa: BLE001 - outside of it, the answer would lack our headers
            _LOG.exception("a request failed")
            if not started:
                await _refuse(marked, Refusal(500, "the server failed; its log says why."))

    def _admit(self, scope: Scope) -> None:
        """Check where a request comes from and what it brings.

        Raises:
            Refusal: 403 for a foreign Host or Origin, 401 for an API path without the token.
        """
        host = _only(_headers(scope, b"host"))
        if not self._known(host):
            raise Refusal(
                403, "this server does not answer to that Host. Open the address that `legible serve` printed."
            )
        for origin in _headers(scope, b"origin"):
            found = _origin(origin)
            if found is None or found[0] not in ("http", "https") or found[1] != host.lower():
                raise Refusal(403, "requests from pages of another origin are refused.")
        if not is_api(scope["path"]):
            return
        if set(_headers(scope, b"sec-fetch-site")) - {"same-origin", "none"}:
            raise Refusal(403, "requests from pages of another site are refused.")
        if scope["path"] != SESSION and not any([same(token, self.settings.token) for token in _tokens(scope)]):
            raise Refusal(
                401, "no token, or a wrong one. Send the header `Authorization: Bearer TOKEN` or `x-api-key`."
            )

    def _known(self, host: str) -> bool:
        name = _host_name(host)
        return name is not None and (name in self.settings.hosts or (self.settings.any_address and _is_address(name)))


class _Body:
    """A request's body, not larger and not slower than allowed."""

    def __init__(self, receive: Receive, settings: Settings, lengths: Iterable[str]) -> None:
        self._receive = receive
        self._room = settings.body_bytes
        self._until = time.monotonic() + settings.body_seconds
        self._whole = False
        if any(not length.isdecimal() or int(length[:20]) > self._room for length in lengths):
            raise Refusal(413, f"the body is larger than {self._room} bytes.")

    async def receive(self) -> Message:
        """The next part of the body; after the last one, whatever comes."""
        if self._whole:
            return await self._receive()
        try:
            message = await asyncio.wait_for(self._receive(), max(0.0, self._until - time.monotonic()))
        except TimeoutError:
            raise Refusal(408, "the body arrived too slowly.") from None
        self._room -= len(message.get("body", b""))
        if self._room < 0:
            raise Refusal(413, "the body is too large.")
        self._whole = not message.get("more_body", False)
        return message


def is_api(path: str) -> bool:
    """Whether a path belongs to the API, where everything needs the token; the rest is the page's own files."""
    return path == "/api" or path.startswith("/api/")


def _origin(origin: str) -> tuple[str, str] | None:
    """(scheme, host and port) of an Origin header, lower case; None where it is none."""
    try:
        found = urlsplit(origin)
    except ValueError:
        return None
    return (found.scheme, found.netloc.lower()) if found.netloc and not found.path else None


def _headers(scope: Scope, name: bytes) -> list[str]:
    return [value.decode("latin-1") for key, value in scope["headers"] if key == name]


def _only(values: list[str]) -> str:
    return values[0] if len(values) == 1 else ""


def _host_name(host: str) -> str | None:
    """The name in a Host header, lower case, its port left out; brackets stay. None where it is none."""
    name, colon, port = host.lower().rpartition(":")
    if colon and not port.isdecimal():
        name = host.lower() if host.endswith("]") else ""
    return (name if colon else host.lower()) or None


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name.removeprefix("[").removesuffix("]"))
    except ValueError:
        return False
    return True


def _tokens(scope: Scope) -> list[str]:
    bearers = [value.partition(" ") for value in _headers(scope, b"authorization")]
    return [token.strip() for kind, _, token in bearers if kind.lower() == "bearer"] + _headers(scope, b"x-api-key")


def _with_headers(headers: Iterable[tuple[bytes, bytes]], path: str) -> list[tuple[bytes, bytes]]:
    found = list(headers)
    present = {key.lower() for key, _ in found}
    wanted = {**_HEADERS, "cache-control": "no-store" if is_api(path) else "no-cache"}
    return found + [(k.encode(), v.encode()) for k, v in wanted.items() if k.encode() not in present]


async def _refuse(send: Send, refusal: Refusal) -> None:
    body = json.dumps({"error": refusal.detail}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    if refusal.status_code == 401:
        headers.append((b"www-authenticate", b"Bearer"))
    await send({"type": "http.response.start", "status": refusal.status_code, "headers": headers})
    await send({"type": "http.response.body", "body": body})
