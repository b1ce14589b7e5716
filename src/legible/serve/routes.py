"""The routes of version 1 of the API."""

from collections.abc import Callable
from functools import partial

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from legible.serve.completing import complete_work
from legible.serve.jobs import Jobs
from legible.serve.reading import explain_work, read_work, score_work, tokenize_work
from legible.serve.security import Codes, Refusal
from legible.serve.sources import Source
from legible.serve.steering import steer_function, steer_work
from legible.serve.streams import EventStream, all_frames, answer, first_frame
from legible.serve.wire import (
    Answer,
    CompleteRequest,
    ExplainRequest,
    JobRequest,
    ReadAnswer,
    ReadRequest,
    ScoreRequest,
    SessionRequest,
    SourcesAnswer,
    SteerRequest,
    TokenizeAnswer,
    TokenizeRequest,
)
from legible.serve.work import Frame, RequestError, Work
from legible.serve.worker import Worker

router = APIRouter(prefix="/api/v1", tags=["version 1"])

PAGE_OF_RESULTS = 200


@router.get("/sources", response_model=SourcesAnswer)
async def list_sources(request: Request) -> Response:
    """The loaded checkpoints; the first is the default of every other route."""
    return answer({"sources": [source.describe() for source in _sources(request).values()]})


@router.post("/tokenize", response_model=TokenizeAnswer)
async def tokenize(body: TokenizeRequest, request: Request) -> Response:
    """The tokens of a text, or of a chat as its template renders it."""
    return await _one(request, tokenize_work(_source(request, body.source), body.text, body.turns, body.reply))


@router.post("/read", response_model=ReadAnswer)
async def read(body: ReadRequest, request: Request) -> Response:
    """Explain tokens of a text: the keys of `legible read --json`, all at once or as server-sent events."""
    source = _source(request, body.source)
    work = read_work(source, body.text, body.turns, body.positions, body, trust=body.trust, claims=body.claims)
    ticket = _worker(request).submit(work)
    if body.stream:
        return EventStream(ticket, await first_frame(request, ticket))
    start, *rest = await all_frames(request, ticket)
    readings = [_plain(frame) for frame in rest if frame["type"] == "reading"]
    return answer({**{key: start[key] for key in ("source", "layer", "text", "prompt_length")}, "readings": readings})


@router.post("/explain", response_model=Answer)
async def explain(body: ExplainRequest, request: Request) -> Response:
    """Explain raw activation vectors."""
    ticket = _worker(request).submit(explain_work(_source(request, body.source), body))
    if body.stream:
        return EventStream(ticket, await first_frame(request, ticket))
    start, *rest = await all_frames(request, ticket)
    found = [_plain(frame) for frame in rest if frame["type"] == "explanation"]
    return answer({"source": start["source"], "layer": start["layer"], "explanations": found})


@router.post("/score", response_model=Answer)
async def score(body: ScoreRequest, request: Request) -> Response:
    """How well explanations give a vector back: direction_mse in [0, 4] and fve_token."""
    return await _one(request, score_work(_source(request, body.source), body))


@router.post("/steer", response_model=Answer)
async def steer(body: SteerRequest, request: Request) -> Response:
    """Edit the words of an explanation and see the target's continuation change beside the untouched one."""
    source = _source(request, body.source)
    steer_function()  # answers 501 before anything waits
    return await _one(request, steer_work(source, body))


@router.post("/complete", response_model=Answer)
async def complete(body: CompleteRequest, request: Request) -> Response:
    """What the target itself says next."""
    source = _source(request, body.source)
    work = complete_work(
        source, body.text, body.turns, max_tokens=body.max_tokens, temperature=body.temperature, seed=body.seed
    )
    ticket = _worker(request).submit(work)
    if body.stream:
        return EventStream(ticket, await first_frame(request, ticket))
    frames = await all_frames(request, ticket)
    tokens = [_plain(frame) for frame in frames if frame["type"] == "token"]
    return answer({**_plain(frames[0]), **_plain(frames[-1]), "completion_tokens": tokens})


@router.get("/evaluation/{source}", response_model=Answer)
async def evaluation(source: str, request: Request) -> Response:
    """The stored reports of a checkpoint: `evaluation` and `truth`, null where there is none."""
    found = _source(request, source)
    return answer({"source": found.id, "evaluation": found.evaluation, "truth": found.truth})


@router.post("/jobs", response_model=Answer, status_code=202)
async def start_job(body: JobRequest, request: Request) -> Response:
    """Read many texts in the background."""
    source = _source(request, body.source)

    def work(text: str) -> Work:
        return read_work(source, text, None, body.positions, body, trust=body.trust, claims=body.claims)

    works: list[Callable[[], Work]] = [partial(work, text) for text in body.texts]
    return answer(_jobs(request).start(body.kind, source.id, works).as_dict(), 202)


@router.get("/jobs", response_model=Answer)
async def list_jobs(request: Request) -> Response:
    """Every job's progress."""
    return answer({"jobs": _jobs(request).all()})


@router.get("/jobs/{id}", response_model=Answer)
async def get_job(
    id: str,
    request: Request,
    offset: int = Query(0, ge=0, le=1_000_000, description="Results to skip."),
    limit: int = Query(PAGE_OF_RESULTS, ge=0, le=PAGE_OF_RESULTS, description="Most results of one answer."),
) -> Response:
    """A job's progress and some of its results, in the order they were finished."""
    job = _jobs(request).get(id)
    found = ",".join(job.results[offset : offset + limit])
    head = bytes(answer(job.as_dict()).body).decode().removesuffix("}")
    return Response(f'{head},"results":[{found}]}}', media_type="application/json")


@router.delete("/jobs/{id}", response_model=Answer)
async def cancel_job(id: str, request: Request) -> Response:
    """Stop a job before its remaining texts cost work, and forget its results."""
    return answer(_jobs(request).cancel(id).as_dict())


@router.post("/session", response_model=Answer)
async def session(body: SessionRequest, request: Request) -> Response:
    """The token for the code in the address that `legible serve` opened; a code works once, for two minutes."""
    codes: Codes = request.app.state.codes
    if not codes.redeem(body.code):
        raise Refusal(401, "that code is used, expired or wrong. Open the address that `legible serve` printed.")
    return answer({"token": request.app.state.settings.token})


async def _one(request: Request, work: Work) -> Response:
    """The answer of work that gives one frame."""
    frames = await all_frames(request, _worker(request).submit(work))
    return answer(_plain(frames[0]))


def _plain(frame: Frame) -> Frame:
    return {key: value for key, value in frame.items() if key != "type"}


def _sources(request: Request) -> dict[str, Source]:
    sources: dict[str, Source] = request.app.state.sources
    return sources


def _source(request: Request, id_: str | None) -> Source:
    sources = _sources(request)
    found = next(iter(sources.values())) if id_ is None else sources.get(id_)
    if found is None:
        raise RequestError("no source of that id. GET /api/v1/sources lists those loaded.", 404)
    return found


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


def _jobs(request: Request) -> Jobs:
    jobs: Jobs = request.app.state.jobs
    return jobs
