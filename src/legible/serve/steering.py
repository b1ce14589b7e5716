"""Steering as work for the worker: the words go to `legible.steer.steering`, the answer comes back as one frame."""

from collections.abc import Callable
from importlib import import_module
from typing import Any

from legible.serve.sources import Source
from legible.serve.wire import SteerRequest
from legible.serve.work import RequestError, Work

MODULE = "legible.steer.steering"


def steer_function() -> Callable[..., Any]:
    """`legible.steer.steering.steer_text`.

    Raises:
        RequestError: 501 where this installation has none.
    """
    try:
        return import_module(MODULE).steer_text
    except (ModuleNotFoundError, AttributeError):
        raise RequestError("steering is not part of this installation.", 501) from None


def steer_work(source: Source, request: SteerRequest) -> Work:
    """One frame: the continuations, as `steer_text(...).as_dict()` gives them."""
    steer = steer_function()
    result = steer(
        source.reader,
        request.text,
        pos=request.pos,
        explanation=request.explanation,
        edits=[(edit.find, edit.replace) for edit in request.edits or ()],
        replacement=request.replacement,
        strengths=request.strengths,
        mode=request.mode,
        controls=request.controls,
        samples=request.samples,
        max_tokens=request.max_tokens,
        temperature=request.temperature,
        seed=request.seed,
    )
    yield {"type": "steer", "source": source.id, **result.as_dict()}
