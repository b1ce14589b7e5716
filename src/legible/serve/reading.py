"""Reading, explaining and scoring as work for the worker: the steps of `legible.reading.reader`, shared with others.

What comes out for a text is what `Reader.read` gives for it, whoever else is served at the same time.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from legible.documents import Document
from legible.engines import Key
from legible.engines.sampling import numbered
from legible.errors import UsageError
from legible.reading.evidence import NEAR, Spot, first_position, gather
from legible.reading.floor import floor_fve
from legible.reading.positions import parse_positions
from legible.reading.reader import Prepared
from legible.serve.sources import Prompt, Source
from legible.serve.wire import ROWS, ExplainRequest, Sampling, ScoreRequest
from legible.serve.work import Completions, Frame, RequestError, Rows, Work
from legible.vectors import direction_mse, fve_token

_SEGMENT = 8  # rows whose claims are measured before others get their turn


def read_work(
    source: Source,
    text: str | None,
    turns: Sequence[tuple[str, str]] | None,
    positions: str | Sequence[int],
    sampling: Sampling,
    *,
    trust: float | None = None,
    claims: bool = True,
) -> Work:
    """Explain tokens of a text.

    Frames: `start`; for each token, in order, `draft` as soon as its words are written (of its first sample) and
    `reading` when everything is measured; `end`.

    Args:
        source: the checkpoint.
        text, turns: what its target reads, one of them.
        positions: as `legible read --positions`, or indices.
        sampling, trust: as for `Reader.read`.
        claims: without them a reading is an explanation with its score, at a lower cost.

    Raises:
        RequestError, UsageError: from the first step, before any frame.
    """
    prompt = source.read_prompt(text, turns)
    chosen = _positions(positions, len(prompt.encoded.ids))
    _check_rows(len(chosen), sampling)
    prepared = _flagged(source.reader.prepare(Document("", prompt.text), prompt.encoded), prompt)
    yield {"type": "start", **_heading(source, prompt), "total": len(chosen)}
    rows = _rows(source, prepared.stream[chosen], prepared.keys(chosen, sampling.seed), sampling)
    completions: Completions = []
    finished = 0
    while finished < len(chosen):
        if len(completions) < len(chosen):
            part = yield _from(rows, len(completions))
            assert part is not None
            for group in part:
                yield {"type": "draft", "pos": chosen[len(completions)], "explanation": group[0].explanation}
                completions.append(group)
        ready = _settled(chosen, len(completions))
        for first in range(finished, ready, _SEGMENT):
            last = min(first + _SEGMENT, ready)
            near = slice(*_around(chosen, first, last))
            for reading in source.reader.readings(
                prepared,
                chosen[near],
                completions[near],
                temperature=sampling.heat,
                trust=trust,
                wanted=chosen[first:last],
                plain=not claims,
            ):
                yield {"type": "reading", **reading.as_dict()}
            yield None
        finished = ready
    yield {"type": "end", "readings": finished}


def explain_work(source: Source, request: ExplainRequest) -> Work:
    """Explain raw vectors: a `start` frame, an `explanation` frame a vector, in order, an `end` frame.

    Raises:
        RequestError: from the first step: a vector of another width than the target's, or one without a direction.
    """
    vectors = _vectors(source, request.vectors)
    _check_rows(len(vectors), request)
    yield {"type": "start", "source": source.id, "layer": source.checkpoint.layer, "total": len(vectors)}
    rows = _rows(source, vectors, numbered(request.seed, len(vectors)), request)
    done = 0
    while done < len(vectors):
        completions = yield _from(rows, done)
        assert completions is not None
        for frame in _explained(source, completions, vectors[done : done + len(completions)]):
            yield {"type": "explanation", "index": done, **frame}
            done += 1
    yield {"type": "end", "explanations": done}


def score_work(source: Source, request: ScoreRequest) -> Work:
    """One frame: how well each explanation gives a vector back."""
    reconstructor = source.checkpoint.reconstructor
    if reconstructor is None:
        raise RequestError(f"{source.id} has no reconstructor, so nothing can be scored.")
    if request.vector is not None:
        vector = _vectors(source, [request.vector])[0]
    else:
        vector = _activation(source, source.read_prompt(request.text, None), request.pos or 0)
    room = int(reconstructor.backbone.config.get_text_config().max_position_embeddings)
    ids, mask = reconstructor.encode(request.explanations)
    extra = len(reconstructor.prompt.prefix_ids) + len(reconstructor.prompt.suffix_ids)
    if int(mask.sum(1).max()) + extra > room or ids.shape[1] == 0:
        raise RequestError(f"an explanation has no token, or more than the reconstructor's context of {room}.")
    errors = direction_mse(reconstructor.reconstruct(request.explanations).cpu(), vector.expand(len(ids), -1))
    yield {
        "type": "scores",
        "source": source.id,
        "norm": float(vector.norm()),
        "scores": [
            {"explanation": text, "direction_mse": mse, "fve_token": _fve(source, mse)}
            for text, mse in zip(request.explanations, errors.tolist(), strict=True)
        ],
    }


def tokenize_work(
    source: Source, text: str | None, turns: Sequence[tuple[str, str]] | None, reply: bool = False
) -> Work:
    """One frame: the tokens of a text of any length."""
    prompt = source.prompt(text, turns, reply=reply)
    yield {
        "type": "tokens",
        "source": source.id,
        "text": prompt.text,
        "tokens": source.tokens(prompt),
        "prompt_length": len(prompt.encoded.ids),
        "context": source.target.context,
    }


def _positions(positions: str | Sequence[int], n: int) -> list[int]:
    return parse_positions(positions if isinstance(positions, str) else ",".join(map(str, positions)), n)


def _check_rows(n: int, sampling: Sampling) -> None:
    if n * sampling.samples > ROWS:
        raise RequestError(f"{n} tokens with {sampling.samples} samples each are more than {ROWS} explanations.")


def _rows(source: Source, vectors: Float[Tensor, "n d"], keys: Sequence[Key], sampling: Sampling) -> Rows:
    most = source.reader.longest
    return Rows(
        engine=source.engine,
        vectors=vectors,
        keys=keys,
        samples=sampling.samples,
        temperature=sampling.heat,
        max_tokens=min(sampling.max_tokens or most, most),
    )


def _from(rows: Rows, start: int) -> Rows:
    return Rows(rows.engine, rows.vectors[start:], rows.keys[start:], rows.samples, rows.temperature, rows.max_tokens)


def _heading(source: Source, prompt: Prompt) -> Frame:
    return {
        "source": source.id,
        "layer": source.checkpoint.layer,
        "prompt_length": len(prompt.encoded.ids),
        "text": prompt.text,
        "tokens": source.tokens(prompt),
    }


def _settled(chosen: Sequence[int], written: int) -> int:
    """How many of the first rows have all their neighbours written."""
    if written == len(chosen):
        return written
    return next((row for row in range(written) if chosen[written] - chosen[row] <= NEAR), written)


def _around(chosen: Sequence[int], first: int, last: int) -> tuple[int, int]:
    """The rows first..last-1 with their neighbours on both sides, as (start, stop)."""
    start = next(row for row in range(first + 1) if chosen[first] - chosen[row] <= NEAR)
    stop = next((row for row in range(last, len(chosen)) if chosen[row] - chosen[last - 1] > NEAR), len(chosen))
    return start, stop


def _flagged(prepared: Prepared, prompt: Prompt) -> Prepared:
    """The text with the tokens of a chat template flagged."""
    spots = (
        replace(spot, flags=(*spot.flags, "template_token")) if spot.pos in prompt.template else spot
        for spot in prepared.spots
    )
    return replace(prepared, spots=tuple(spots)) if prompt.template else prepared


def _explained(source: Source, completions: Completions, vectors: Float[Tensor, "n d"]) -> Iterator[Frame]:
    """What is written of raw vectors; nobody knows what stands around them, so no claim gets a probability."""
    spots = [Spot(first_position(source.checkpoint)) for _ in completions]
    alone: list[list[int]] = [[] for _ in completions]
    found = gather(source.checkpoint, vectors, completions, spots, alone, leverage=())
    for one, vector in zip(found, vectors, strict=True):
        mse = one.errors[one.best]
        claims = source.reader.claims(one, [(None, None)] * len(one.claims), {})
        frame: Frame = {
            "norm": float(vector.norm()),
            "flags": [] if one.explanation is not None else ["parse_failed"],
            "explanation": one.explanation,
            "direction_mse": mse,
            "fve_token": _fve(source, mse),
            "floor_fve": floor_fve(vector, source.checkpoint.uninformed, source.checkpoint.variance),
            "claims": [claim.as_dict() for claim in claims],
            "unparsed": list(one.unparsed),
            "p_true_reason": "a raw vector: nobody knows what it was read from",
        }
        if len(one.completions) > 1:
            pairs = zip(one.completions, one.errors, strict=True)
            frame["samples"] = [{"explanation": done.explanation, "direction_mse": error} for done, error in pairs]
        yield frame


def _vectors(source: Source, rows: Sequence[Sequence[float]]) -> Float[Tensor, "n d"]:
    """Vectors of a request.

    Raises:
        RequestError: another width than the target's, values beyond float32, or a zero vector.
    """
    width = source.target.d_model
    for index, row in enumerate(rows):
        if len(row) != width:
            raise RequestError(f"vector {index} has {len(row)} values, the target of {source.id} is {width} wide.")
    vectors = torch.tensor(rows, dtype=torch.float32)
    norms = vectors.norm(dim=-1)
    if not bool((norms.isfinite() & (norms > 1e-6)).all()):
        raise RequestError("a vector is zero, or too long for float32: it has no direction.")
    return vectors


def _activation(source: Source, prompt: Prompt, pos: int) -> Float[Tensor, " d"]:
    layer, n = source.checkpoint.layer, len(prompt.encoded.ids)
    if not -n <= pos < n:
        raise UsageError(f"position {pos} is out of range: the text has {n} tokens, so {-n} to {n - 1} are there.")
    ids = torch.tensor([prompt.encoded.ids])
    return source.target.streams(ids, torch.ones_like(ids), (layer,))[layer][0, pos].cpu()


def _fve(source: Source, mse: float | None) -> float | None:
    variance = source.checkpoint.variance
    return fve_token(mse, variance) if mse is not None and variance else None
