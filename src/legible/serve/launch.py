"""Starting the server: load the checkpoints, take the port, print the address, serve until Ctrl-C."""

import asyncio
import ipaddress
import os
import socket
import sys
import webbrowser
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import uvicorn
from fastapi import FastAPI

from legible.config import AUTO, Placement
from legible.errors import UsageError
from legible.reading.reader import load
from legible.serve.app import create_app
from legible.serve.protocol import PatientProtocol
from legible.serve.security import new_token
from legible.serve.settings import LOOPBACK, Settings
from legible.serve.sources import source_ids

PORT = 8377
SHORTEST_TOKEN = 16
_CONNECTIONS = 512


@dataclass(frozen=True)
class Address:
    """Where the server listens and who may reach it.

    host, port: what is bound; port 0 takes a free one.
    token: what requests must bring; absent: a random one.
    allow_remote: bind an address that other machines can reach.
    names: further Host names to answer to, e.g. that of a proxy in front.
    """

    host: str = "127.0.0.1"
    port: int = PORT
    token: str | None = None
    allow_remote: bool = False
    names: tuple[str, ...] = ()

    def settings(self) -> Settings:
        """The server's settings.

        Raises:
            UsageError: an address beyond this machine without the flag, or without a token chosen for it; a weak token.
        """
        remote = not is_loopback(self.host)
        if remote and not self.allow_remote:
            raise UsageError(
                f"--host {self.host} can be reached from other machines.\n"
                "  Add --allow-remote and a token if that is meant, or reach this machine by an SSH tunnel instead."
            )
        if remote and self.token is None:
            raise UsageError(
                "binding beyond this machine needs a token that you choose.\n"
                "  Set it in the environment, where other users do not see it: LEGIBLE_TOKEN=... legible serve ..."
            )
        if self.token is not None and not (len(self.token) >= SHORTEST_TOKEN and self.token.isascii()):
            raise UsageError(
                f"the token has {len(self.token)} characters, expected at least {SHORTEST_TOKEN}, ASCII only.\n"
                '  For example: python -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if self.token is not None and not all(char.isalnum() or char in "-._~" for char in self.token):
            raise UsageError("the token may hold letters, digits and -._~ only: it is part of the printed address.")
        hosts = LOOPBACK | {_bracketed(self.host).lower(), *(name.lower() for name in self.names)}
        return Settings(token=self.token or new_token(), hosts=frozenset(hosts), any_address=remote)

    def listen(self) -> socket.socket:
        """The bound socket.

        Raises:
            UsageError: the port is taken or out of range, or the host is none of this machine's addresses.
        """
        family = socket.AF_INET6 if ":" in self.host else socket.AF_INET
        try:
            return socket.create_server((self.host, self.port), family=family, backlog=256)
        except (OSError, OverflowError) as error:
            raise UsageError(
                f"cannot listen on {_bracketed(self.host)}:{self.port} ({error}).\n"
                "  The usual cause is another program on that port. --port 0 takes a free one."
            ) from None


def serve(
    checkpoints: Sequence[str],
    address: Address,
    *,
    target: str | None,
    reconstructor: str | None = None,
    other_target: bool = False,
    place: Placement = AUTO,
    open_browser: bool,
    say: Callable[[str], None],
    show: Callable[[str], None],
) -> None:
    """Serve until interrupted.

    Args:
        checkpoints: run directories, checkpoint directories, hub names or shipped pairs; the first is the default.
        address: where to listen.
        target: where the target lies, if not where the contracts say.
        reconstructor: where the reconstructor lies, if not beside the verbalizers.
        other_target: read `target` even where it is not the one that a contract names.
        place: the device, and how the weights are held.
        open_browser: open the page, where there is a desktop.
        say: takes lines of progress.
        show: takes the address with its token.

    Raises:
        UsageError: bad settings, a taken port, or a checkpoint that does not load.
    """
    settings = address.settings()
    listener = address.listen()
    readers = {}
    for id_, name in zip(source_ids(checkpoints), checkpoints, strict=True):
        say(f"loading {name}")
        readers[id_] = load(
            name, target=target, reconstructor=reconstructor, other_target=other_target, **place.model_dump()
        )
    app = create_app(readers, settings)
    base = f"http://{_reachable(address.host)}:{listener.getsockname()[1]}/"

    def ready() -> None:
        show(f"{base}#token={settings.token}")
        say("The address holds the token: keep it to yourself. Ctrl-C stops the server.")
        if open_browser and has_desktop():
            webbrowser.open(f"{base}#code={app.state.codes.issue()}")

    try:
        asyncio.run(_serve(app, listener, ready))
    except KeyboardInterrupt:
        say("stopped")


async def _serve(app: FastAPI, listener: socket.socket, ready: Callable[[], None]) -> None:
    server = uvicorn.Server(configured(app))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    if server.started:
        ready()
    await serving


def configured(app: FastAPI) -> uvicorn.Config:
    """How the application is served: no access log, since addresses are private; every wait has a limit."""
    return uvicorn.Config(
        app,
        access_log=False,
        log_level="warning",
        lifespan="on",
        ws="none",
        http=PatientProtocol,
        loop="asyncio",
        proxy_headers=False,
        server_header=False,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=2,
        limit_concurrency=_CONNECTIONS,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host.lower() == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def has_desktop() -> bool:
    """Whether a browser would open a window; a text browser would take over the terminal instead."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def _reachable(host: str) -> str:
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, _bracketed(host))


def _bracketed(host: str) -> str:
    return f"[{host}]" if ":" in host else host
