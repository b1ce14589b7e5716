"""Anthropic's messages endpoint as teacher, or one that speaks like it."""

import os
from functools import partial
from typing import Any

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.teachers.base import Explanation, Offer, Refusal
from legible.teachers.http import Service, body_of, http_teacher, text_of
from legible.teachers.prompt import read_answer


def service(model: str, url: str | None, config: TeachConfig) -> Service:
    """Anthropic's messages endpoint, or one that speaks like it; the key is ANTHROPIC_API_KEY.

    Args:
        model: as the service names it.
        url: base address without `/v1`; None is Anthropic's own.
        config: length and temperature.
    """
    key = os.environ.get("ANTHROPIC_API_KEY")
    if url is None and not key:
        raise UsageError(
            "ANTHROPIC_API_KEY is not set.\n  Set it, or name another endpoint: --teacher anthropic:MODEL@http://HOST"
        )

    def body(prompt: str) -> dict[str, Any]:
        return body_of(model, prompt, config, max_tokens=config.max_tokens)

    def read(answer: Any) -> Explanation | Refusal:
        if answer["stop_reason"] == "refusal":
            return Refusal("refused by the service")
        return read_answer(text_of(list(answer["content"])), cut=answer["stop_reason"] == "max_tokens")

    headers = {"anthropic-version": "2023-06-01", **({"x-api-key": key} if key else {})}
    return Service(f"{(url or 'https://api.anthropic.com').rstrip('/')}/v1/messages", headers, body, read)


TEACHER = Offer("anthropic:MODEL[@URL]", partial(http_teacher, service), verdict_tokens=1024)
