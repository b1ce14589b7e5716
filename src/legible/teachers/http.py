"""A teacher behind an HTTP endpoint, whatever the service (`legible.teachers.openai`, `legible.teachers.anthropic`).

Requests run side by side and are retried with exponential back-off and jitter on 429, 5xx, timeouts, broken
connections and answers of another form; every other status ends the stage at once. Answers are cached on (teacher,
prompt, text), so a resumed stage asks nothing twice.
"""

import json
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from pathlib import Path
from queue import Queue
from typing import Any

import httpx

from legible.config import TeachConfig
from legible.errors import TeacherError, UsageError
from legible.languages.base import Row
from legible.teachers.base import Explanation, Refusal, refuse_limit
from legible.teachers.cache import AnswerCache, answer_key
from legible.teachers.prompt import Request, ask

LARGEST_ANSWER = 1 << 20  # bytes of a response body; more is a misbehaving server
LONGEST_WAIT = 120.0  # seconds between two tries, whatever the server asks for
_FIRST_WAIT = 0.5
_PLAIN = "text"  # the kind of an answer's parts that is words


@dataclass(frozen=True)
class Service:
    """How one kind of endpoint is asked and answers."""

    url: str
    headers: dict[str, str]
    body: Callable[[str], dict[str, Any]]
    read: Callable[[Any], Explanation | Refusal]  # KeyError, IndexError, TypeError: not an answer of this service


_CLOSING = 1.0  # seconds that requests in flight get to end
_DOWN = "a service that is down, or a rate limit below --concurrency"
_OTHER_FORM = "an address that is no such endpoint, e.g. a proxy's or login page: compare it with the service's manual"


class _Again(Exception):
    """A failure worth another try; `wait` is what the server asked for, in seconds, `cause` why it usually stays."""

    def __init__(self, what: str, wait: float | None = None, cause: str = _DOWN) -> None:
        super().__init__(what)
        self.wait, self.cause = wait, cause


class HttpTeacher:
    """A language model behind an endpoint as teacher.

    Args:
        name: as in the configuration; part of the cache key.
        service: how to ask.
        config: concurrency, retries, timeout, temperature and length.
        cache: file of answers; None keeps them in memory.
        role: what its errors call it; also the option that names it.
        sleep: waits between tries; absent: waits, and wakes when another request has failed for good.
    """

    def __init__(
        self,
        name: str,
        service: Service,
        config: TeachConfig,
        cache: Path | None = None,
        *,
        role: str = "teacher",
        sleep: Callable[[float], object] | None = None,
    ) -> None:
        self.name = name
        self._called = f"{role} {name}"
        self._option = f"--{role}"
        self._service = service
        self._config = config
        self._cache = AnswerCache(cache)
        self._client = httpx.Client(timeout=config.timeout, follow_redirects=False)
        self._jitter = random.Random(config.seed)
        self._sleep = sleep
        self._workers: list[threading.Thread] = []

    def write(self, rows: Sequence[Row], keep: Sequence[set[str]] | None = None) -> list[Explanation | Refusal]:
        """One answer a row; equal texts are asked once.

        Raises:
            UsageError: a limit was given, which free text cannot keep to.
            TeacherError: the endpoint refused the request itself, or failed through every retry.
        """
        refuse_limit(self.name, keep)
        return self.complete([ask(row.prefix) for row in rows])

    def complete(self, requests: Sequence[Request]) -> list[Explanation | Refusal]:
        """One answer a request; equal requests are asked once.

        Raises:
            TeacherError: the endpoint refused the request itself, or failed through every retry.
        """
        answers = self._side_by_side(list(dict.fromkeys(requests)))
        return [answers[request] for request in requests]

    def close(self) -> None:
        """Close the connections and the cache; requests in flight get a moment to end, lest they leave open sockets."""
        deadline = time.monotonic() + _CLOSING
        for worker in self._workers:
            worker.join(max(0.0, deadline - time.monotonic()))
        self._client.close()
        self._cache.close()

    def _side_by_side(self, requests: Sequence[Request]) -> dict[Request, Explanation | Refusal]:
        """Answers by request. Workers are daemons: neither a failure nor Ctrl-C waits for requests in flight."""
        waiting = deque(requests)
        done: Queue[tuple[Request, Explanation | Refusal | BaseException]] = Queue()
        stop = threading.Event()

        def work() -> None:
            while not stop.is_set():
                try:
                    request = waiting.popleft()
                except IndexError:
                    return
                try:
                    done.put((request, self._answer(request, stop)))
                except BaseException as error:  # noqa: BLE001  raised again by the caller below
                    done.put((request, error))

        self._workers = [
            threading.Thread(target=work, daemon=True) for _ in range(min(self._config.concurrency, len(requests)))
        ]
        for worker in self._workers:
            worker.start()
        answers: dict[Request, Explanation | Refusal] = {}
        try:
            for _ in requests:
                request, answer = done.get()
                if isinstance(answer, BaseException):
                    raise answer
                answers[request] = answer
        finally:
            stop.set()
        return answers

    def _answer(self, request: Request, stop: threading.Event) -> Explanation | Refusal:
        config = self._config
        asked = json.dumps([request.form, config.max_tokens, config.temperature, config.seed])
        key = answer_key(self.name, asked, request.passage)
        known = self._cache.get(key)
        if known is not None:
            return known
        answer = self._ask_until_answered(request, stop)
        self._cache.put(key, answer)
        return answer

    def _ask_until_answered(self, request: Request, stop: threading.Event) -> Explanation | Refusal:
        body = self._service.body(request.shown())
        attempt = 0
        while True:
            try:
                return self._ask_once(body)
            except _Again as again:
                attempt += 1
                if attempt > self._config.retries or stop.is_set():
                    raise TeacherError(
                        f"{self._called} failed {attempt} times, last: {again}.\n"
                        f"  The usual cause is {again.cause}.\n"
                        "  Run the same command again: answers so far are kept."
                    ) from None
                backoff = _FIRST_WAIT * 2 ** (attempt - 1) * (1 + self._jitter.random())
                (self._sleep or stop.wait)(min(LONGEST_WAIT, max(backoff, again.wait or 0.0)))

    def _ask_once(self, body: dict[str, Any]) -> Explanation | Refusal:
        status, headers, content = self._post(body)
        if status == 429 or status >= 500:
            raise _Again(f"HTTP {status}", _retry_after(headers.get("retry-after")))
        if status != 200:
            raise TeacherError(
                f"{self._called}: HTTP {status} from {self._service.url}: {_excerpt(content)}\n"
                "  The usual cause is a wrong key, model name or address.\n"
                f"  Check {self._option} and the key's environment variable."
            )
        try:
            return self._service.read(json.loads(content))
        except (ValueError, KeyError, IndexError, TypeError, AttributeError):
            raise _Again(f"an answer in an unexpected form: {_excerpt(content)}", cause=_OTHER_FORM) from None

    def _post(self, body: dict[str, Any]) -> tuple[int, httpx.Headers, bytes]:
        """One request; a server that drips bytes or never ends is cut off."""
        deadline = time.monotonic() + self._config.timeout
        content = bytearray()
        try:
            with self._client.stream("POST", self._service.url, headers=self._service.headers, json=body) as response:
                for part in response.iter_bytes():
                    content += part
                    if time.monotonic() > deadline:
                        raise _Again(f"no whole answer within {self._config.timeout:g} s")
                    if len(content) > LARGEST_ANSWER:
                        raise _Again(f"an answer of more than {LARGEST_ANSWER} bytes")
                return response.status_code, response.headers, bytes(content)
        except httpx.UnsupportedProtocol as error:
            raise UsageError(
                f"{self._called}: {error}.\n  Expected {self._option} openai:MODEL@https://HOST/v1"
            ) from None
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise _Again(f"{type(error).__name__}: {error}") from None


def http_teacher(
    service: Callable[[str, str | None, TeachConfig], Service], config: TeachConfig, cache: Path | None, role: str
) -> HttpTeacher | None:
    """The teacher that a configuration names as KIND:MODEL[@URL]; None where it names no model.

    Args:
        service: how a model at a base address (None: the service's own) is asked.
        config, cache, role: as for `legible.teachers.make_teacher`.

    Raises:
        UsageError: a missing key or an impossible setting.
    """
    model, at, url = config.teacher.partition(":")[2].partition("@http")
    if not model:
        return None
    for name, value, least in (
        ("concurrency", config.concurrency, 1),
        ("retries", config.retries, 0),
        ("timeout", config.timeout, 1e-3),
    ):
        if value < least:
            raise UsageError(f"teach.{name} is {value}, expected at least {least:g}.")
    return HttpTeacher(config.teacher, service(model, "http" + url if at else None, config), config, cache, role=role)


def body_of(model: str, prompt: str, config: TeachConfig, **more: Any) -> dict[str, Any]:
    """What every service is asked, and more."""
    message = {"role": "user", "content": prompt}
    return {"model": model, "messages": [message], "temperature": config.temperature, **more}


def text_of(value: Any) -> str | None:
    """The text of an answer, whole or in parts.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, list):
        return " ".join(text_of(part["text"]) or "" for part in value if part["type"] == _PLAIN)
    if value is not None and not isinstance(value, str):
        raise TypeError("text expected")
    return value


def _excerpt(content: bytes) -> str:
    return " ".join(content.decode("utf-8", "replace").split())[:200]


def _retry_after(value: str | None) -> float | None:
    """Seconds of a Retry-After header, given as seconds or as a date; None where it says neither."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, (parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds())
    except (ValueError, TypeError):
        return None
