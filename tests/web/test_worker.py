"""The worker's promises: shared batches, fair turns, nothing done for those who left, bounds on everything."""

import asyncio
import threading

import pytest
import torch

from legible.engines.base import Completion
from legible.engines.sampling import numbered
from legible.serve.settings import Settings
from legible.serve.work import RequestError, Rows
from legible.serve.worker import Worker


class CountingEngine:
    """Writes nothing, but counts; waits at its gate before each call."""

    def __init__(self):
        self.calls = []
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()

    def generate(self, vectors, keys, *, samples, temperature, max_tokens):
        self.entered.set()
        self.gate.wait(20)
        self.calls.append(keys)
        if any(vector[0] < 0 for vector in vectors):
            raise ValueError("a vector that cannot be read")
        done = Completion([1], [0.0], "stop", 2, "words", "words")
        return [[done] * samples for _ in vectors]

    @property
    def rows(self):
        return sum(len(call) for call in self.calls)


def asking(engine, n, *, seed=0, value=1.0, temperature=0.0, samples=1):
    """Work that wants `n` rows and hands on a frame a row."""
    vectors, done = torch.full((n, 2), value), 0
    while done < n:
        keys = [(seed, row) for row in range(done, n)]
        completions = yield Rows(engine, vectors[done:], keys, samples, temperature, 8)
        for completion in completions:
            yield {"row": done, "text": completion[0].text}
            done += 1


def working(job, **limits):
    """Run `job(worker)` in an event loop with a worker of these limits."""

    async def main():
        worker = Worker(Settings(token="x", **limits))
        try:
            return await job(worker)
        finally:
            worker.stop()

    return asyncio.run(main())


async def drained(ticket):
    return [frame async for frame in ticket]


def test_rows_of_several_requests_share_one_call():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        first = worker.submit(asking(engine, 1))
        await asyncio.to_thread(engine.entered.wait, 20)  # the thread waits at the gate with the first row
        others = [worker.submit(asking(engine, 2, seed=seed)) for seed in (1, 2, 3)]
        engine.gate.set()
        return [len(await drained(ticket)) for ticket in (first, *others)]

    assert working(job) == [1, 2, 2, 2]
    assert [len(call) for call in engine.calls] == [1, 6]
    assert engine.calls[1] == [(1, 0), (1, 1), (2, 0), (2, 1), (3, 0), (3, 1)]


def test_different_sampling_is_never_mixed_in_one_call():
    engine = CountingEngine()

    async def job(worker):
        tickets = [worker.submit(asking(engine, 2, seed=seed, temperature=seed)) for seed in (0, 1)]
        return [len(await drained(ticket)) for ticket in tickets]

    assert working(job) == [2, 2]
    assert all(len({seed for seed, _ in call}) == 1 for call in engine.calls)


def test_a_short_request_does_not_wait_for_a_long_one():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        tickets = [worker.submit(asking(engine, n, seed=n)) for n in (60, 4)]
        engine.gate.set()
        return [len(await drained(ticket)) for ticket in tickets]

    assert working(job, batch=8, quantum=8) == [60, 4]
    assert engine.rows == 64
    shared = [call for call in engine.calls if {seed for seed, _ in call} == {4, 60}]
    assert all(sum(seed == 60 for seed, _ in call) == 4 for call in shared)  # half of a batch while two are served
    done = max(number for number, call in enumerate(engine.calls) if (4, 3) in call)
    assert done <= 2


def test_everyone_gets_a_turn_when_a_batch_is_too_small_for_all():
    engine = CountingEngine()

    async def job(worker):
        tickets = [worker.submit(asking(engine, 2, seed=seed)) for seed in range(9)]
        return [len(await drained(ticket)) for ticket in tickets]

    assert working(job, batch=2) == [2] * 9
    first = {}
    for number, call in enumerate(engine.calls):
        for seed, _ in call:
            first.setdefault(seed, number)
    assert max(first.values()) < len(engine.calls) - 2  # nobody starts only when others are done


def test_a_cancelled_request_costs_no_further_rows():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        ticket = worker.submit(asking(engine, 1000))
        await asyncio.to_thread(engine.entered.wait, 20)  # its first four rows are being written
        ticket.cancel()
        engine.gate.set()
        await drained(worker.submit(asking(engine, 3, seed=7)))

    working(job, batch=4)
    assert [seed for call in engine.calls for seed, _ in call] == [0, 0, 0, 0, 7, 7, 7]


def test_a_cancelled_request_that_waits_costs_nothing():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        first = worker.submit(asking(engine, 1))
        await asyncio.to_thread(engine.entered.wait, 20)
        waiting = worker.submit(asking(engine, 500, seed=9))
        waiting.cancel()
        engine.gate.set()
        await drained(first)
        await drained(worker.submit(asking(engine, 1, seed=2)))

    working(job)
    assert engine.rows == 2


def test_a_client_that_takes_nothing_is_not_written_for():
    engine = CountingEngine()

    async def job(worker):
        lazy = worker.submit(asking(engine, 1000))
        await drained(worker.submit(asking(engine, 300, seed=1)))
        before = sum(seed == 0 for call in engine.calls for seed, _ in call)
        rest = await drained(lazy)  # and goes on as soon as it takes
        return before, len(rest)

    before, rest = working(job, batch=16)
    assert before <= 64 + 16
    assert rest == 1000


def test_a_full_queue_answers_429_with_a_time_to_wait():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        tickets = [worker.submit(asking(engine, 1)) for _ in range(3)]
        with pytest.raises(RequestError, match="3 requests are waiting already") as refused:
            worker.submit(asking(engine, 1))
        engine.gate.set()
        for ticket in tickets:
            await drained(ticket)
        worker.submit(asking(engine, 1))  # there is room again
        return refused.value

    error = working(job, queue=3)
    assert error.status == 429
    assert 1 <= error.retry_after <= 60


def test_a_request_beyond_its_deadline_ends_with_an_error():
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        ticket = worker.submit(asking(engine, 1))
        await asyncio.sleep(0.1)
        late = worker.submit(asking(engine, 1))
        await asyncio.sleep(0.1)
        engine.gate.set()
        await ticket.next()
        with pytest.raises(RequestError, match=r"longer than 0\.05 seconds") as refused:
            await late.next()
        return refused.value.status

    assert working(job, deadline=0.05) == 503


def test_one_requests_fault_is_not_anothers(caplog):
    engine = CountingEngine()
    engine.gate.clear()

    async def job(worker):
        first = worker.submit(asking(engine, 1))
        await asyncio.to_thread(engine.entered.wait, 20)
        broken, whole = worker.submit(asking(engine, 2, value=-1.0)), worker.submit(asking(engine, 2, seed=1))
        engine.gate.set()
        with pytest.raises(RequestError, match="its log says why") as refused:
            await drained(broken)
        return refused.value.status, len(await drained(first)), len(await drained(whole))

    assert working(job) == (500, 1, 2)
    assert "a vector that cannot be read" in caplog.text  # for the log, not for the client


def test_stopping_ends_what_is_in_work():
    engine = CountingEngine()

    def endless():
        while True:
            yield None

    async def job(worker):
        ticket = worker.submit(endless())
        await asyncio.to_thread(worker.stop)
        with pytest.raises(RequestError, match="stopping"):
            await ticket.next()
        with pytest.raises(RequestError, match="stopping"):
            worker.submit(asking(engine, 1))

    working(job)
    assert engine.calls == []


def test_what_a_row_draws_does_not_depend_on_its_company(reader):
    vectors = torch.randn(6, reader.checkpoint.target.d_model, generator=torch.Generator().manual_seed(0))
    alone = reader.engine.generate(vectors, numbered(5, len(vectors)), samples=2, temperature=2.0, max_tokens=12)
    order = [4, 0, 5]
    mixed = reader.engine.generate(
        torch.cat([vectors[:2], vectors[order]]),
        samples=2,
        temperature=2.0,
        max_tokens=12,
        keys=[(8, 0), (8, 1), *((5, row) for row in order)],
    )
    assert [[done.ids for done in group] for group in mixed[2:]] == [[done.ids for done in alone[row]] for row in order]
    assert [done.ids for done in mixed[0]] != [done.ids for done in alone[0]]
