"""The worker: one thread that owns the models and shares them out among all requests.

Turns are round robin by request. In a turn every request moves up to the rows it waits for; the rows of requests that
ask for the same kind of writing go to the engine in one call, a small quantum of each. A request whose client has
gone, or does not take what it is sent, gets no further turn.
"""

import asyncio
import logging
import math
import threading
import time
from collections import deque
from collections.abc import AsyncIterator, Sequence

import torch

from legible.errors import LegibleError, UsageError
from legible.serve.settings import Settings
from legible.serve.work import Completions, Frame, RequestError, Rows, Work

_LOG = logging.getLogger(__name__)
_OUTBOX = 64  # frames that wait for a client before its request rests
_IDLE = 0.5  # seconds between looks for expired requests while nothing wakes the worker


class Ticket:
    """One request in the worker. The worker fills it; the event loop takes from it."""

    def __init__(self, work: Work, worker: "Worker", deadline: float) -> None:
        self.work = work
        self.rows: Rows | None = None  # what it waits for
        self.expires = time.monotonic() + deadline
        self.cancelled = False
        self._worker = worker
        self._loop = asyncio.get_running_loop()
        self._news = asyncio.Event()
        self._outbox: deque[Frame | RequestError | None] = deque()  # None: finished

    @property
    def full(self) -> bool:
        """The client does not keep up."""
        return len(self._outbox) >= _OUTBOX

    def put(self, item: Frame | RequestError | None) -> None:
        """Hand over a frame, the error that ends the request, or its end. Worker's side."""
        self._outbox.append(item)
        try:
            self._loop.call_soon_threadsafe(self._news.set)
        except RuntimeError:  # the loop is closed: its clients are gone
            self.cancelled = True

    async def next(self) -> Frame | None:
        """The next frame; None after the last one.

        Raises:
            RequestError: the request failed.
        """
        while not self._outbox:
            self._news.clear()
            if not self._outbox:  # filled since the last look
                await self._news.wait()
        was_full = self.full
        item = self._outbox.popleft()
        if was_full:
            self._worker.wake()
        if isinstance(item, RequestError):
            raise item
        return item

    async def __aiter__(self) -> AsyncIterator[Frame]:
        while (frame := await self.next()) is not None:
            yield frame

    def cancel(self) -> None:
        """Drop what is left before it costs work."""
        self.cancelled = True
        self._worker.wake()


class Worker:
    """Runs requests on its own thread, started with the first one.

    Example:
        >>> ticket = worker.submit(work)  # doctest: +SKIP
        >>> async for frame in ticket: ...  # doctest: +SKIP
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.written = 0  # explanations written for anyone, samples counted
        self._live: list[Ticket] = []
        self._news = threading.Condition()
        self._noticed = True
        self._stopping = False
        self._thread: threading.Thread | None = None
        self._rate = 100.0  # explanations per second, measured

    def submit(self, work: Work) -> Ticket:
        """Queue a request; call from the event loop.

        Raises:
            RequestError: 429 where the queue is full, with the seconds after which there may be room; 503 after `stop`.
        """
        ticket = Ticket(work, self, self.settings.deadline)
        with self._news:
            if self._stopping:
                raise RequestError("the server is stopping.", 503)
            if len(self._live) >= self.settings.queue:
                raise RequestError(
                    f"{len(self._live)} requests are waiting already, the most this server accepts. Try again later.",
                    429,
                    retry_after=self._wait(),
                )
            self._live.append(ticket)
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="legible-worker", daemon=True)
                self._thread.start()
        self.wake()
        return ticket

    def wake(self) -> None:
        """Something changed: a request came, went, or has room again."""
        with self._news:
            self._noticed = True
            self._news.notify()

    def stop(self) -> None:
        """End the thread after its current turn; requests in it get an error."""
        with self._news:
            self._stopping = True
        self.wake()
        if self._thread is not None:
            self._thread.join(timeout=30)

    def _wait(self) -> int:
        waiting = sum(len(t.rows.vectors) * t.rows.samples for t in self._live if t.rows is not None)
        return min(60, max(1, math.ceil(waiting / self._rate)))

    @torch.no_grad()
    def _run(self) -> None:
        try:
            while not self._stopping:
                if not self._turn():
                    with self._news:
                        self._news.wait_for(lambda: self._noticed, _IDLE)
                        self._noticed = False
        finally:
            self._stopping = True
            for ticket in list(self._live):
                self._end(ticket, RequestError("the server is stopping.", 503))

    def _turn(self) -> bool:
        """One turn for everyone; whether anything moved."""
        with self._news:
            tickets = list(self._live)
        ready = [ticket for ticket in tickets if self._alive(ticket) and not ticket.full]
        for ticket in ready:
            if ticket.rows is None:
                self._advance(ticket, None)
        waiting = [ticket for ticket in ready if ticket.rows is not None and not ticket.full and self._alive(ticket)]
        for group in self._shares(waiting):
            self._write(group)
        return bool(ready)

    def _alive(self, ticket: Ticket) -> bool:
        if ticket.cancelled:
            self._end(ticket, None)
            return False
        if time.monotonic() > ticket.expires:
            message = f"the request took longer than {self.settings.deadline:g} seconds. Ask for less at a time."
            self._end(ticket, RequestError(message, 503, retry_after=self._wait()))
            return False
        return True

    def _shares(self, waiting: Sequence[Ticket]) -> list[list[tuple[Ticket, int]]]:
        """What is written in this turn: (request, rows of it) by group; those who get nothing come first next time."""
        quantum = min(self.settings.quantum, self.settings.batch // max(1, len(waiting)))
        room = self.settings.batch
        groups: dict[object, list[tuple[Ticket, int]]] = {}
        for ticket in waiting:
            rows = ticket.rows
            assert rows is not None
            share = min(len(rows.vectors), max(1, quantum // rows.samples))
            if groups and share * rows.samples > room:
                break
            room -= share * rows.samples
            groups.setdefault(rows.group, []).append((ticket, share))
            with self._news:
                if ticket in self._live:
                    self._live.remove(ticket)
                    self._live.append(ticket)
        return list(groups.values())

    def _write(self, group: Sequence[tuple[Ticket, int]]) -> None:
        """One engine call for the rows of several requests, then each request's next step."""
        group = [(ticket, share) for ticket, share in group if self._alive(ticket)]
        if not group:
            return
        parts = [(ticket, ticket.rows, share) for ticket, share in group if ticket.rows is not None]
        first = parts[0][1]
        vectors = torch.cat([rows.vectors[:share] for _, rows, share in parts])
        keys = [key for _, rows, share in parts for key in rows.keys[:share]]
        started = time.monotonic()
        try:
            completions = first.engine.generate(
                vectors, keys, samples=first.samples, temperature=first.temperature, max_tokens=first.max_tokens
            )
        except Exception as error:  # noqa: BLE001 - told to the client and logged; the thread serves others
            if len(group) > 1:  # one request's fault must not become another's
                for one in group:
                    self._write([one])
            else:
                self._end(group[0][0], _failure(error))
            return
        jobs = len(vectors) * first.samples
        self.written += jobs
        self._rate += 0.2 * (jobs / max(time.monotonic() - started, 1e-3) - self._rate)
        at = 0
        for ticket, _, share in parts:
            self._advance(ticket, completions[at : at + share])
            at += share

    def _advance(self, ticket: Ticket, answer: Completions | None) -> None:
        """Run a request up to the rows it waits for, a pause, or a full outbox."""
        ticket.rows = None
        try:
            step = ticket.work.send(answer)
            while isinstance(step, dict):
                ticket.put(step)
                if ticket.full or ticket.cancelled:
                    return
                step = ticket.work.send(None)
            ticket.rows = step
        except StopIteration:
            self._end(ticket, None)
        except Exception as error:  # noqa: BLE001 - told to the client and logged; the thread serves others
            self._end(ticket, _failure(error))

    def _end(self, ticket: Ticket, error: RequestError | None) -> None:
        with self._news:
            if ticket not in self._live:
                return
            self._live.remove(ticket)
        ticket.rows = None
        ticket.work.close()
        if error is not None:
            ticket.put(error)
        ticket.put(None)


def _failure(error: Exception) -> RequestError:
    """What the client is told: bad input in full, our own faults without their inside."""
    if isinstance(error, RequestError):
        return error
    if isinstance(error, UsageError):
        return RequestError(str(error), 400)
    _LOG.error("a request failed", exc_info=error)
    message = str(error) if isinstance(error, LegibleError) else "the server failed; its log says why."
    return RequestError(message, 500)
