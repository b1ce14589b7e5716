"""Answers of the worker as HTTP: one JSON object, or server-sent events; both end the work when the client goes."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable
from typing import Any, TypeVar

from starlette.requests import Request
from starlette.responses import JSONResponse, StreamingResponse
from starlette.types import Receive, Scope, Send

from legible.fileio import finite, json_line
from legible.serve.work import Frame, RequestError
from legible.serve.worker import Ticket

T = TypeVar("T")
Shape = Callable[[Frame], Iterable[Frame]]
"""A frame of the worker as frames of one protocol."""

_HEARTBEAT = 10.0  # seconds of silence before a comment line shows that the server is still there
_DONE = b"data: [DONE]\n\n"


class ClientGone(Exception):
    """The client has gone."""


def answer(value: Any, status: int = 200) -> JSONResponse:
    """JSON; a number that is none becomes null."""
    return JSONResponse(finite(value), status_code=status)


def event(frame: Frame) -> bytes:
    """One server-sent event."""
    return b"data: " + json_line(frame, separators=(",", ":")).encode() + b"\n\n"


class EventStream(StreamingResponse):
    """Frames as server-sent events, `data: [DONE]` last; an error inside is a frame with the key `error`.

    Args:
        ticket: the work; cancelled when the response ends, whatever ends it.
        first: its first frame, taken already so that bad input could still get an HTTP status.
        shape: turns each frame into those of the protocol.
    """

    def __init__(self, ticket: Ticket, first: Frame | None, shape: Shape = lambda frame: (frame,)) -> None:
        self._ticket = ticket
        super().__init__(_events(ticket, first, shape), media_type="text/event-stream")
        self.headers["cache-control"] = "no-store, no-transform"
        self.headers["x-accel-buffering"] = "no"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send everything, or stop where the client does."""
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._ticket.cancel()


async def _events(ticket: Ticket, frame: Frame | None, shape: Shape) -> AsyncIterator[bytes]:
    try:
        while frame is not None:
            for shaped in shape(frame):
                yield event(shaped)
            while True:
                try:
                    frame = await asyncio.wait_for(ticket.next(), _HEARTBEAT)
                    break
                except TimeoutError:
                    yield b": waiting\n\n"
    except RequestError as error:
        yield event({"type": "error", "error": str(error)})
    yield _DONE


async def first_frame(request: Request, ticket: Ticket) -> Frame | None:
    """The first frame of some work, while its client is there.

    Raises:
        RequestError: the work refused the request.
        ClientGone: the client left; the work is cancelled.
    """
    return await _attended(request, ticket, ticket.next())


async def all_frames(request: Request, ticket: Ticket) -> list[Frame]:
    """Every frame of some work, while its client is there; raises as `first_frame`."""

    async def collect() -> list[Frame]:
        return [frame async for frame in ticket]

    return await _attended(request, ticket, collect())


async def _attended(request: Request, ticket: Ticket, work: Coroutine[Any, Any, T]) -> T:
    task, gone = asyncio.ensure_future(work), asyncio.ensure_future(_gone(request))
    done = False
    try:
        await asyncio.wait((task, gone), return_when=asyncio.FIRST_COMPLETED)
        done = task.done()
        if not done:
            raise ClientGone
        return task.result()
    finally:
        task.cancel()
        gone.cancel()
        if not done:
            ticket.cancel()


async def _gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
