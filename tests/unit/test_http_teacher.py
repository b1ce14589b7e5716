"""Teachers asked over HTTP, under a server that misbehaves on purpose: faults, refusals, keys, the cache."""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest
from teaching import (
    Behaviour,
    Handler,
    Server,
    broken_gzip,
    chat,
    claude,
    cut_connection,
    drip,
    half_a_body,
    hang,
    no_end,
    reply,
    row_of,
)

from legible.config import TeachConfig
from legible.errors import TeacherError, UsageError
from legible.teachers import Explanation, Refusal, make_teacher
from legible.teachers.http import LONGEST_WAIT, HttpTeacher
from legible.teachers.prompt import NO_ROOM, read_answer


@pytest.fixture
def asking(server: Server) -> Iterator[Callable[..., HttpTeacher]]:
    made: list[HttpTeacher] = []

    def ask(kind: str = "openai", cache: Path | None = None, **options: Any) -> HttpTeacher:
        url = server.url if kind == "openai" else server.url.removesuffix("/v1")
        config = TeachConfig(teacher=f"{kind}:m@{url}", **{"timeout": 5.0, **options})
        teacher = make_teacher(config, cache=cache)
        assert isinstance(teacher, HttpTeacher)
        teacher.slept = []  # type: ignore[attr-defined]
        teacher._sleep = teacher.slept.append  # type: ignore[attr-defined]
        made.append(teacher)
        return teacher

    yield ask
    for teacher in made:
        teacher.close()


GOOD = reply(200, chat("Someone is at the park."))
ANSWER = Explanation("Someone is at the park.")


@pytest.mark.parametrize(
    "fault",
    [
        reply(429, {"error": "slow down"}),
        reply(500, b"<html>oops</html>"),
        reply(503, b""),
        reply(529, {"type": "overloaded_error"}),
        reply(200, b"<html>a proxy's page</html>"),
        reply(200, b"\xff\xfe\x00"),
        reply(200, {"choices": []}),
        reply(200, {"error": "quietly failed"}),
        reply(200, chat([{"type": "text"}])),  # type: ignore[arg-type]
        reply(200, None),
        cut_connection,
        half_a_body,
        no_end,
        broken_gzip,
    ],
    ids=lambda fault: getattr(fault, "__name__", "fault"),
)
def test_a_passing_fault_is_tried_again(server: Server, asking: Callable[..., HttpTeacher], fault: Behaviour) -> None:
    server.behaviours = [fault, fault, GOOD]
    teacher = asking()
    assert teacher.write([row_of("once")]) == [ANSWER]
    assert len(server.requests) == 3
    first, second = teacher.slept  # type: ignore[attr-defined]
    assert 0.5 <= first <= 1.0 <= second <= 2.0  # doubles, with jitter


@pytest.mark.parametrize("fault", [hang, drip], ids=["hang", "drip"])
def test_a_slow_answer_is_cut_off_and_tried_again(
    server: Server, asking: Callable[..., HttpTeacher], fault: Behaviour
) -> None:
    server.behaviours = [fault, GOOD]
    began = time.monotonic()
    assert asking(timeout=0.3).write([row_of("once")]) == [ANSWER]
    assert time.monotonic() - began < 3.0


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        (lambda: "7", 7.0, 7.0),
        (lambda: formatdate(time.time() + 40, usegmt=True), 5.0, 40.0),
        (lambda: "99999", LONGEST_WAIT, LONGEST_WAIT),
        (lambda: "soon", 0.5, 1),
    ],
    ids=["seconds", "a date", "too long", "nonsense"],
)
def test_the_server_may_say_how_long_to_wait(
    server: Server, asking: Callable[..., HttpTeacher], header: Callable[[], str], least: float, most: float
) -> None:
    server.behaviours = [reply(429, {}, retry_after=header()), GOOD]
    teacher = asking()
    assert teacher.write([row_of("once")]) == [ANSWER]
    assert least <= teacher.slept[0] <= most  # type: ignore[attr-defined]


def test_a_fault_that_stays_ends_the_stage_with_a_way_on(server: Server, asking: Callable[..., HttpTeacher]) -> None:
    server.behaviours = [reply(503, {})]
    with pytest.raises(TeacherError, match=r"failed 3 times, last: HTTP 503.(.|\n)*Run the same command again"):
        asking(retries=2).write([row_of("once")])
    assert len(server.requests) == 3


def test_nobody_listening_is_named(server: Server, asking: Callable[..., HttpTeacher]) -> None:
    server.close()
    with pytest.raises(TeacherError, match=r"failed 2 times, last: ConnectError"):
        asking(retries=1).write([row_of("once")])


@pytest.mark.parametrize("status", [400, 401, 403, 404, 422, 302])
def test_a_refused_request_ends_the_stage_at_once_and_shows_no_key(
    server: Server, asking: Callable[..., HttpTeacher], status: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "secret-key")
    server.behaviours = [reply(status, {"error": {"message": "no such model"}}, location="http://127.0.0.1:9/")]
    with pytest.raises(TeacherError, match=rf"HTTP {status} from .*no such model") as caught:
        asking().write([row_of("once"), row_of("twice")])
    assert "secret-key" not in str(caught.value)
    assert len(server.requests) <= 2


@pytest.mark.parametrize(
    ("kind", "answer", "reason"),
    [
        ("openai", chat(None, refusal="I will not."), "refused by the service"),
        ("openai", chat("", finish="content_filter"), "content filter"),
        ("openai", chat("  \n"), "empty answer"),
        ("openai", chat(None), "empty answer"),
        ("openai", chat("I'm sorry, but I can't help with that."), "refused in words"),
        ("openai", chat("A sentence that never", finish="length"), "cut off"),
        ("anthropic", claude("", stop="refusal"), "refused by the service"),
        ("anthropic", {"content": [], "stop_reason": "end_turn"}, "empty answer"),
        ("anthropic", claude("I cannot assist."), "refused in words"),
    ],
)
def test_a_refusal_is_an_answer_and_is_asked_once(
    server: Server, asking: Callable[..., HttpTeacher], kind: str, answer: Any, reason: str
) -> None:
    server.behaviours = [reply(200, answer)]
    teacher = asking(kind)
    assert teacher.write([row_of("once")]) == teacher.write([row_of("once")]) == [Refusal(reason)]
    assert len(server.requests) == 1


def test_an_answer_cut_by_its_length_keeps_its_whole_sentences() -> None:
    assert read_answer("One is here. Two is there. Three", cut=True) == Explanation("One is here. Two is there.")
    assert read_answer("<explanation>\nOne.\n Two. </explanation>") == Explanation("One. Two.")


@pytest.mark.parametrize(
    ("kind", "answer", "written"),
    [
        ("openai", chat("<think>\nHm. What\n</think>\n\nOne is here."), Explanation("One is here.")),
        ("openai", chat("a prefilled thought</think>One is here."), Explanation("One is here.")),
        ("openai", chat("<Thinking>a</Thinking> <think>b</think>One. <think>c"), Explanation("One.")),
        ("openai", chat("<think>Only this.</think>"), Refusal("thoughts without an answer")),
        ("openai", chat("One \ud83d is here."), Explanation("One \ufffd is here.")),
        ("openai", chat([{"type": "text", "text": "One"}, {"type": "image"}, {"type": "text", "text": "is."}]),
         Explanation("One is.")),
        ("anthropic", claude("<think>b</think>One."), Explanation("One.")),
    ],
)  # fmt: skip
def test_thoughts_are_cut_off_and_parts_joined(
    server: Server, asking: Callable[..., HttpTeacher], tmp_path: Path, kind: str, answer: Any, written: Any
) -> None:
    server.behaviours = [reply(200, answer)]
    teacher = asking(kind, cache=tmp_path / "answers.sqlite")
    assert teacher.write([row_of("once")]) == teacher.write([row_of("once")]) == [written]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("kind", "answer"),
    [
        ("openai", chat(None, finish="length", reasoning_content="Hm.")),
        ("openai", chat("<think>Hm. What a", finish="length")),
        ("anthropic", {"content": [{"type": "thinking", "thinking": "Hm."}], "stop_reason": "max_tokens"}),
    ],
)
def test_an_answer_that_never_came_is_named_and_asked_again(
    server: Server, asking: Callable[..., HttpTeacher], tmp_path: Path, kind: str, answer: Any
) -> None:
    server.behaviours = [reply(200, answer)]
    teacher = asking(kind, cache=tmp_path / "answers.sqlite")
    assert teacher.write([row_of("once")]) == [Refusal(NO_ROOM)]
    server.behaviours = [GOOD if kind == "openai" else reply(200, claude(ANSWER.text))]
    assert teacher.write([row_of("once")]) == [ANSWER]


@pytest.mark.parametrize("body", [b"<html>Log in</html>", {"result": "One is here."}, chat(7)])  # type: ignore[arg-type]
def test_an_endpoint_of_another_form_is_named_and_nothing_is_kept(
    server: Server, asking: Callable[..., HttpTeacher], tmp_path: Path, body: Any
) -> None:
    server.behaviours = [reply(200, body)]
    message = r"an answer in an unexpected form: [<{](.|\n)*usual cause is an address that is no such endpoint"
    with pytest.raises(TeacherError, match=message):
        asking(cache=tmp_path / "answers.sqlite", retries=1).write([row_of("once")])
    server.behaviours = [GOOD]
    assert asking(cache=tmp_path / "answers.sqlite").write([row_of("once")]) == [ANSWER]


def test_both_services_are_asked_in_their_own_form(
    server: Server, asking: Callable[..., HttpTeacher], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "key-1")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "key-2")
    server.behaviours = [GOOD, reply(200, claude("Someone is at the park."))]
    assert asking(temperature=0.2, max_tokens=50).write([row_of("the passage")]) == [ANSWER]
    assert asking("anthropic", max_tokens=60).write([row_of("the passage")]) == [ANSWER]
    (path1, head1, body1), (path2, head2, body2) = server.requests
    assert (path1, path2) == ("/v1/chat/completions", "/v1/messages")
    assert (head1["authorization"], head2["x-api-key"], head2["anthropic-version"]) == (
        "Bearer key-1",
        "key-2",
        "2023-06-01",
    )
    assert (body1["model"], body1["temperature"], body1["max_tokens"], body2["max_tokens"]) == ("m", 0.2, 50, 60)
    for body in (body1, body2):
        assert "the passage" in body["messages"][0]["content"]


def test_nothing_is_asked_twice_even_by_another_process(
    server: Server, asking: Callable[..., HttpTeacher], tmp_path: Path
) -> None:
    rows = [row_of(text) for text in ("a", "b", "a", "c", "b")]
    assert asking(cache=tmp_path / "answers.sqlite").write(rows) == [ANSWER] * 5
    assert asking(cache=tmp_path / "answers.sqlite").write(rows) == [ANSWER] * 5
    assert len(server.requests) == 3
    asking(cache=tmp_path / "answers.sqlite", temperature=0.1).write(rows[:1])  # another prompt is another question
    assert len(server.requests) == 4


def test_answers_before_a_failure_are_kept(server: Server, asking: Callable[..., HttpTeacher], tmp_path: Path) -> None:
    server.behaviours = [GOOD, GOOD, reply(401, {})]
    rows = [row_of(text) for text in "abc"]
    with pytest.raises(TeacherError, match="HTTP 401"):
        asking(cache=tmp_path / "answers.sqlite", concurrency=1).write(rows)
    server.behaviours = [GOOD]
    assert asking(cache=tmp_path / "answers.sqlite").write(rows) == [ANSWER] * 3
    assert len(server.requests) == 4


def test_requests_run_side_by_side_and_answers_stay_with_their_rows(
    server: Server, asking: Callable[..., HttpTeacher]
) -> None:
    def later_first(handler: Handler) -> None:
        time.sleep(0.05 * (3 - int(handler.passage[-1]) % 3))
        reply(200, chat(f"It says {handler.passage}."))(handler)

    server.behaviours = [later_first]
    rows = [row_of(f"word{i}") for i in range(9)]
    assert asking(concurrency=3).write(rows) == [Explanation(f"It says word{i}.") for i in range(9)]
    assert 2 <= server.most_running <= 3


def test_free_text_cannot_be_limited_by_probes(asking: Callable[..., HttpTeacher]) -> None:
    with pytest.raises(UsageError, match="cannot be limited by probes"):
        asking().write([row_of("once")], keep=[{"place"}])


def test_a_request_that_waits_is_woken_when_another_fails_for_good(server: Server) -> None:
    server.behaviours = [reply(429, {}, retry_after="60"), reply(401, {})]
    teacher = make_teacher(TeachConfig(teacher=f"openai:m@{server.url}", concurrency=2))
    began = time.monotonic()
    with pytest.raises(TeacherError, match="HTTP 401"):
        teacher.write([row_of("a"), row_of("b")])
    assert time.monotonic() - began < 10
    teacher.close()  # type: ignore[attr-defined]


def test_ctrl_c_does_not_wait_for_requests_in_flight(server: Server, asking: Callable[..., HttpTeacher]) -> None:
    server.behaviours = [lambda handler: time.sleep(6)]
    threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT)).start()
    began = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        asking(timeout=30).write([row_of(f"passage {i}") for i in range(8)])
    assert time.monotonic() - began < 5
    assert len(server.requests) <= 4
