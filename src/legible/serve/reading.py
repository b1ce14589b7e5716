"""Reading, explaining and scoring as work for the worker: the steps of `legible.reading.reader`, shared with others.

What comes out for a text is what `Reader.read` gives for it, whoever else is served at the same time.
"""

from collections.abc import Sequence
from dataclasses import asdict, replace

import torch
from jaxtyping import Float
from torch import Tensor

from legible.documents import Document
from legible.engines import Key
from legible.engines.sampling import numbered
from legible.errors import UsageError
from legible.reading.evidence import NEAR
from legible.reading.explained import explained
from legible.reading.given_vectors import checked_vectors
from legible.reading.positions import parse_positions
from legible.reading.prepared import Prepared, stream_of
from legible.reading.scoring import scores
from legible.serve.sources import Prompt, Source
from legible.serve.wire import ROWS, ExplainRequest, Sampling, ScoreRequest
from legible.serve.work import Completions, Frame, RequestError, Rows, Work

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
        for one in explained(source.checkpoint, vectors[done : done + len(completions)], completions, done):
            yield {"type": "explanation", **one.as_dict()}
        done += len(completions)
    yield {"type": "end", "explanations": done}


def score_work(source: Source, request: ScoreRequest) -> Work:
    """One frame: how well each explanation gives a vector back."""
    if source.checkpoint.reconstructor is None:
        raise RequestError(f"{source.id} has no reconstructor, so nothing can be scored.")
    if request.vector is not None:
        vector = _vectors(source, [request.vector])[0]
    else:
        vector = _activation(source, source.read_prompt(request.text, None), request.pos or 0)
    given = scores(source.checkpoint, request.explanations, vector.expand(len(request.explanations), -1))
    yield {
        "type": "scores",
        "source": source.id,
        "norm": float(vector.norm()),
        "scores": [
            {"explanation": text, **asdict(score)} for text, score in zip(request.explanations, given, strict=True)
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


def _vectors(source: Source, rows: Sequence[Sequence[float]]) -> Float[Tensor, "n d"]:
    """Vectors of a request.

    Raises:
        RequestError, UsageError: another width than the target's, values beyond float32, or a zero vector.
    """
    width = source.target.d_model
    for index, row in enumerate(rows):
        if len(row) != width:
            raise RequestError(f"vector {index} has {len(row)} values, the target of {source.id} is {width} wide.")
    return checked_vectors(torch.tensor(rows, dtype=torch.float32), width, "the request")


def _activation(source: Source, prompt: Prompt, pos: int) -> Float[Tensor, " d"]:
    n = len(prompt.encoded.ids)
    if not -n <= pos < n:
        raise UsageError(f"position {pos} is out of range: the text has {n} tokens, so {-n} to {n - 1} are there.")
    return stream_of(source.checkpoint, prompt.encoded)[pos]
