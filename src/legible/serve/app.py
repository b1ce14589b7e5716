"""The HTTP API, version 1, and the page. Routes parse, hand work to the worker and answer; no logic.

docs/api.md describes every request, answer and frame for those who write clients; /openapi.json for programs.
"""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader, HTTPBearer
from starlette.exceptions import HTTPException
from starlette.responses import Response

from legible import __version__
from legible.display import visible
from legible.reading.reader import Reader
from legible.serve import neuronpedia, routes
from legible.serve.jobs import Jobs
from legible.serve.pages import Page, load_pages
from legible.serve.security import Codes, Guard
from legible.serve.settings import Settings
from legible.serve.sources import Source
from legible.serve.streams import ClientGone, answer
from legible.serve.wire import Error
from legible.serve.work import RequestError
from legible.serve.worker import Worker

WEB = Path(__file__).parent / "web"

_ERRORS: dict[int | str, dict[str, Any]] = {
    code: {"model": Error} for code in (400, 401, 403, 404, 408, 413, 422, 429, 500, 501, 503)
}


def create_app(readers: Mapping[str, Reader], settings: Settings, *, web: Path = WEB) -> FastAPI:
    """The server's application.

    Args:
        readers: loaded checkpoints by their ids, which requests name; the first is the default.
        settings: token, hosts and limits.
        web: folder of the page's files, read now.

    Returns:
        An ASGI application. Its `state` holds `sources`, `worker`, `jobs` and `codes` (for the browser's first visit).
    """
    worker = Worker(settings)

    @asynccontextmanager
    async def life(app: FastAPI) -> AsyncIterator[None]:
        yield
        app.state.jobs.stop()
        worker.stop()

    app = FastAPI(
        title="Legible",
        version=__version__,
        description="Read what a language model is thinking, in words. See docs/api.md.",
        docs_url=None,  # their pages load scripts from outside
        redoc_url=None,
        redirect_slashes=False,
        lifespan=life,
        generate_unique_id_function=lambda route: route.name,
    )
    app.state.sources = {id_: Source(id_, reader) for id_, reader in readers.items()}
    app.state.worker = worker
    app.state.jobs = Jobs(worker, settings)
    app.state.codes = Codes()
    app.state.settings = settings
    schemes = [Security(HTTPBearer(auto_error=False)), Security(APIKeyHeader(name="x-api-key", auto_error=False))]
    guarded = APIRouter(dependencies=schemes, responses=_ERRORS)
    guarded.include_router(routes.router)
    guarded.include_router(neuronpedia.router(app.state.sources))
    app.include_router(guarded)
    _add_pages(app, web)
    _add_errors(app)
    app.add_middleware(Guard, settings=settings)
    return app


def _add_pages(app: FastAPI, web: Path) -> None:
    for path, found in load_pages(web).items():
        app.add_api_route(path, partial(_page, found), methods=["GET", "HEAD"], include_in_schema=False, name=path)


async def _page(found: Page) -> Response:
    return Response(found.body, media_type=found.type)


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(RequestError)
    async def refused(_request: Request, error: RequestError) -> Response:
        response = answer({"error": str(error)}, error.status)
        if error.retry_after is not None:
            response.headers["retry-after"] = str(error.retry_after)
        return response

    @app.exception_handler(HTTPException)
    async def failed(_request: Request, error: HTTPException) -> Response:
        response = answer({"error": visible(str(error.detail))}, error.status_code)
        response.headers.update(error.headers or {})
        return response

    @app.exception_handler(RequestValidationError)
    async def invalid(_request: Request, error: RequestValidationError) -> Response:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"] if part != "body")
        said = f"{where}: {first['msg']}" if where else first["msg"]
        return answer({"error": visible(said)[:500]}, 422)

    @app.exception_handler(ClientGone)
    async def gone(_request: Request, _error: ClientGone) -> Response:
        return Response(status_code=499)
