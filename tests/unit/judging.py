"""Helpers of the judge's tests: the claims of a request, and a back end that says what a test gives it to say."""

import re
from collections.abc import Callable
from typing import Any

from legible.teachers import Explanation, Refusal
from legible.teachers.prompt import Request


def claims_of(prompt: str) -> list[str]:
    """The claims that stand in a request, without their numbers."""
    return re.findall(r"^\d+\. (.*)$", prompt.split("<claims>\n")[1].split("\n</claims>")[0], re.MULTILINE)


class Scripted:
    """A back end that answers as a function of the claims that it is asked about."""

    name = "scripted"

    def __init__(self, answer: Callable[[list[str]], str | Refusal]) -> None:
        self.answer = answer
        self.requests: list[Request] = []

    def close(self) -> None:
        pass

    def complete(self, requests: Any) -> list[Explanation | Refusal]:
        self.requests += requests
        said = [self.answer(claims_of(request.shown())) for request in requests]
        return [answer if isinstance(answer, Refusal) else Explanation(answer) for answer in said]


def lines(word: Callable[[str], str]) -> Callable[[list[str]], str]:
    """Answers with one word for each claim."""
    return lambda claims: " ".join(f"{n}: {word(claim)}" for n, claim in enumerate(claims, 1))
