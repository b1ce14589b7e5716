"""Long work in the background: many texts read, with progress, cancel and a bound on what is kept.

A job uses the worker as any client does, a few texts at a time, so that it slows others no more than they do each
other. Its results wait in memory, as JSON, until they are fetched, pushed out by newer jobs, or too large.
"""

import asyncio
import json
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from legible.fileio import finite
from legible.serve.settings import Settings
from legible.serve.work import Frame, RequestError, Work
from legible.serve.worker import Worker

State = Literal["queued", "running", "done", "failed", "cancelled"]

_AT_ONCE = 4  # texts of one job in the worker
_PAUSE = 0.5  # seconds before a job asks again for room in a full queue


@dataclass
class Job:
    """One job. `results` are JSON texts in the order they were finished, each naming the index of its text."""

    id: str
    kind: str
    source: str
    total: int
    state: State = "queued"
    error: str | None = None
    results: list[str] = field(default_factory=list)
    bytes: int = 0
    task: asyncio.Task[None] | None = None

    @property
    def over(self) -> bool:
        """Whether nothing more will come."""
        return self.state in ("done", "failed", "cancelled")

    def as_dict(self) -> Frame:
        """Progress, without results."""
        return {
            "id": self.id,
            "kind": self.kind,
            "source": self.source,
            "state": self.state,
            "done": len(self.results),
            "total": self.total,
            "error": self.error,
        }


class Jobs:
    """The jobs of one server."""

    def __init__(self, worker: Worker, settings: Settings) -> None:
        self._worker = worker
        self._settings = settings
        self._jobs: dict[str, Job] = {}
        self._running = asyncio.Semaphore(settings.running_jobs)

    def start(self, kind: str, source: str, works: Sequence[Callable[[], Work]]) -> Job:
        """Begin a job: one piece of work a text; `reading` frames become its results.

        Raises:
            RequestError: 429 where as many jobs as are kept are all still unfinished.
        """
        self._make_room()
        job = Job(secrets.token_urlsafe(12), kind, source, len(works))
        self._jobs[job.id] = job
        job.task = asyncio.get_running_loop().create_task(self._run(job, works))
        return job

    def get(self, id_: str) -> Job:
        """A job by its id.

        Raises:
            RequestError: 404: none of that id, or pushed out by newer ones.
        """
        if id_ not in self._jobs:
            raise RequestError("no job of that id; the oldest finished ones are dropped.", 404)
        return self._jobs[id_]

    def all(self) -> list[Frame]:
        """Every job's progress, oldest first."""
        return [job.as_dict() for job in self._jobs.values()]

    def cancel(self, id_: str) -> Job:
        """Stop a job and forget its results.

        Raises:
            RequestError: 404.
        """
        job = self.get(id_)
        if not job.over:
            job.state = "cancelled"
            if job.task is not None:
                job.task.cancel()
        del self._jobs[id_]
        job.results, job.bytes = [], 0
        return job

    def stop(self) -> None:
        """Cancel everything."""
        for id_ in list(self._jobs):
            self.cancel(id_)

    def _make_room(self) -> None:
        if len(self._jobs) < self._settings.jobs:
            return
        finished = next((id_ for id_, job in self._jobs.items() if job.over), None)
        if finished is None:
            raise RequestError(
                f"{len(self._jobs)} jobs are unfinished, the most that this server keeps.", 429, retry_after=10
            )
        del self._jobs[finished]

    async def _run(self, job: Job, works: Sequence[Callable[[], Work]]) -> None:
        async with self._running:
            job.state = "running"
            try:
                left = iter(enumerate(works))
                async with asyncio.TaskGroup() as group:
                    for _ in range(min(_AT_ONCE, len(works))):
                        group.create_task(self._some(job, left))
                job.state = "done"
            except* RequestError as failed:
                job.state, job.error = "failed", str(failed.exceptions[0])
            finally:
                if not job.over:
                    job.state, job.error = "failed", "the server failed; its log says why."

    async def _some(self, job: Job, left: "enumerate[Callable[[], Work]]") -> None:
        for index, make in left:
            result: Frame = {"index": index}
            try:
                result["readings"] = await self._readings(make)
            except RequestError as error:
                if error.status >= 500:
                    raise
                result["error"] = str(error)  # this text cannot be read; the others can
            self._keep(job, json.dumps(finite(result), ensure_ascii=False))

    async def _readings(self, make: Callable[[], Work]) -> list[Frame]:
        while True:
            try:
                ticket = self._worker.submit(make())
                break
            except RequestError as error:
                if error.status != 429:
                    raise
                await asyncio.sleep(_PAUSE)
        try:
            return [
                {key: value for key, value in frame.items() if key != "type"}
                async for frame in ticket
                if frame["type"] == "reading"
            ]
        finally:
            ticket.cancel()

    def _keep(self, job: Job, result: str) -> None:
        job.bytes += len(result)
        if sum(other.bytes for other in self._jobs.values()) > self._settings.job_bytes:
            raise RequestError(
                f"the results of all jobs exceed {self._settings.job_bytes} bytes. Delete finished jobs, or send fewer "
                "texts or positions at a time.",
                507,
            )
        job.results.append(result)
