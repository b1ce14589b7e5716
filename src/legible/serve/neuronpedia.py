"""The shapes of Neuronpedia's public NLA endpoints, so that a client of theirs works after changing the host.

What differs stands in docs/api.md. Source of the shapes: their published endpoint descriptions and open-source routes.
"""

from collections.abc import Iterable
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from legible.contract.schema import resolve_scale
from legible.serve.completing import complete_work
from legible.serve.reading import read_work, tokenize_work
from legible.serve.sources import Source
from legible.serve.streams import EventStream, all_frames, answer, first_frame
from legible.serve.wire import TEXT, Answer, NeuronpediaCompletion, NeuronpediaExplain, NeuronpediaPrompt, Sampling
from legible.serve.work import Frame, RequestError

MOST_TOKENS = 512  # of a completion


def describe(source: Source) -> Frame:
    """A source as `GET /api/nla/sources` lists it."""
    contract = source.checkpoint.contract
    name = source.target_name
    return {
        "modelId": name,
        "id": source.id,
        "displayName": f"{source.id} (layer {source.checkpoint.layer} of {name})",
        "description": f"verbalizer and reconstructor for layer {source.checkpoint.layer}",
        "url": "",
        "author": "",
        "av": f"{source.id}/av",
        "ar": f"{source.id}/ar" if source.checkpoint.reconstructor is not None else "",
        "layerNum": source.checkpoint.layer,
        "norm": resolve_scale(contract.extraction.injection_scale, contract.d_model),
        "model": {"id": name, "displayName": name, "openRouterAvailable": True},
    }


def explain_frames(frame: Frame) -> Iterable[Frame]:
    """A frame of `read_work` as frames of their stream; `mse` is relative: 0 good, about 1 bad."""
    if frame["type"] == "start":
        return ({"layer_index": frame["layer"], "total": frame["total"], "prompt_length": frame["prompt_length"]},)
    if frame["type"] == "reading":
        return (_result(frame),)
    return ()


def completion_frames(frame: Frame) -> Iterable[Frame]:
    """A frame of `complete_work` as frames of their stream."""
    if frame["type"] == "prompt":
        return ({"type": "prompt", "prompt_length": frame["prompt_length"], "tokens": _tokens(frame["tokens"])},)
    if frame["type"] == "token":
        return ({"type": "token", "token": _token(frame)},)
    return ()


def router(sources: dict[str, Source]) -> APIRouter:
    """The three endpoints."""
    routes = APIRouter(prefix="/api/nla", tags=["Neuronpedia-compatible"])

    @routes.get("/sources", response_model=Answer, name="nla_sources")
    async def list_sources() -> Response:
        """Every loaded checkpoint; pass `modelId` and, as `nlaSourceId`, `id` to the other two."""
        return answer({"sources": [describe(source) for source in sources.values()]})

    @routes.post("/explain", response_model=Answer, name="nla_explain")
    async def explain(body: NeuronpediaExplain, request: Request) -> Response:
        """Explain the activations at some positions of a prompt."""
        source = _chosen(sources, body)
        text, turns = _prompt(body)
        positions = sorted(set(body.positions))
        sampling = Sampling(temperature=body.temperature)
        ticket = request.app.state.worker.submit(read_work(source, text, turns, positions, sampling, claims=False))
        if body.stream:
            return EventStream(ticket, await first_frame(request, ticket), explain_frames)
        frames = await all_frames(request, ticket)
        start = frames[0]
        return answer(
            {
                "results": [_result(frame) for frame in frames if frame["type"] == "reading"],
                "layer_index": start["layer"],
                "prompt_length": start["prompt_length"],
            }
        )

    @routes.post("/completion", response_model=Answer, name="nla_completion")
    async def completion(body: NeuronpediaCompletion, request: Request) -> Response:
        """The target's continuation and the tokens of the whole; 0 completion tokens only tokenize."""
        source, worker = _chosen(sources, body), request.app.state.worker
        text, turns = _prompt(body)
        most = min(body.completion_tokens, MOST_TOKENS)
        if most == 0:
            frames = await all_frames(request, worker.submit(tokenize_work(source, text, turns)))
            whole = source.without_start(frames[0]["text"]) if turns is not None else frames[0]["text"]
            return answer(_completed("", whole, frames[0]))
        work = complete_work(source, text, turns, max_tokens=most, temperature=body.temperature)
        ticket = worker.submit(work)
        if body.stream:
            return EventStream(ticket, await first_frame(request, ticket), completion_frames)
        frames = await all_frames(request, ticket)
        end = frames[-1]
        again = await all_frames(request, worker.submit(tokenize_work(source, end["full_text"], None)))
        return answer(_completed(end["completion"], end["full_text"], again[0]))

    return routes


def _completed(completion: str, whole: str, tokenized: Frame) -> Frame:
    tokens = _tokens(tokenized["tokens"])
    return {"completion": completion, "full_text": whole, "text": whole, "tokens": tokens, "prompt_length": len(tokens)}


def _chosen(sources: dict[str, Source], body: NeuronpediaPrompt) -> Source:
    source = next(iter(sources.values())) if body.nlaSourceId is None else sources.get(body.nlaSourceId)
    if source is None or body.modelId not in (None, source.target_name, source.id):
        raise RequestError("no such NLA source. GET /api/nla/sources lists modelId and id of those loaded.", 404)
    return source


def _prompt(body: NeuronpediaPrompt) -> tuple[str | None, list[tuple[str, str]] | None]:
    if body.text:
        return body.text, None
    if not body.messages:
        raise RequestError("Provide either `text` or `messages`.")
    if sum(len(message.content) for message in body.messages) > TEXT:
        raise RequestError(f"the messages hold more than {TEXT} characters.", 413)
    return None, [(message.role, message.content) for message in body.messages]


def _result(frame: Frame) -> Frame:
    mse, fve = frame["direction_mse"], frame["fve_token"]
    cosine = None if mse is None else 1 - mse / 2
    return {
        "position": frame["pos"],
        "token": frame["token"],
        "description": frame["explanation"] or "",
        "mse": None if fve is None else 1 - fve,
        "cosine": cosine,
        "cosine_similarity": cosine,
        "l2_norm": frame["norm"],
        "flags": frame["flags"],
    }


def _token(token: dict[str, Any]) -> Frame:
    return {"token": token["token"], "token_id": token["token_id"], "position": token["pos"]}


def _tokens(tokens: Iterable[dict[str, Any]]) -> list[Frame]:
    return [_token(token) for token in tokens]
