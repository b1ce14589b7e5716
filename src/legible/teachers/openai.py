"""Any service that speaks like OpenAI's chat completions, as teacher."""

import os
from functools import partial
from typing import Any

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.teachers.base import Explanation, Offer, Refusal
from legible.teachers.http import Service, body_of, http_teacher, text_of
from legible.teachers.prompt import read_answer


def service(model: str, url: str | None, config: TeachConfig) -> Service:
    """Chat completions of any OpenAI-compatible endpoint; the key is OPENAI_API_KEY, or none.

    Args:
        model: as the service names it.
        url: base address, `/v1` included; None is OpenAI's own.
        config: length and temperature.
    """
    key = os.environ.get("OPENAI_API_KEY")
    if url is None and not key:
        raise UsageError(
            "OPENAI_API_KEY is not set.\n  Set it, or name another endpoint: --teacher openai:MODEL@http://HOST/v1"
        )
    limit = "max_completion_tokens" if url is None else "max_tokens"  # OpenAI's newer models take only the first

    def body(prompt: str) -> dict[str, Any]:
        return body_of(model, prompt, config, stream=False, **{limit: config.max_tokens})

    def read(answer: Any) -> Explanation | Refusal:
        choice = answer["choices"][0]
        if choice.get("finish_reason") == "content_filter":
            return Refusal("content filter")
        if choice["message"].get("refusal"):
            return Refusal("refused by the service")
        return read_answer(text_of(choice["message"]["content"]), cut=choice.get("finish_reason") == "length")

    base = (url or "https://api.openai.com/v1").rstrip("/")
    return Service(f"{base}/chat/completions", {"authorization": f"Bearer {key}"} if key else {}, body, read)


TEACHER = Offer("openai:MODEL[@URL]", partial(http_teacher, service), verdict_tokens=1024)
