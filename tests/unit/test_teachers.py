"""Teachers under a server that misbehaves on purpose, and a stage that survives being killed."""

import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM

from legible.config import TeachConfig
from legible.documents import Document
from legible.errors import TeacherError, UsageError
from legible.teachers import Explanation, Refusal, Teacher, count_taught, make_teacher, read_taught, teach
from legible.teachers.base import CHUNK
from legible.teachers.facts import FactsTeacher
from legible.teachers.http import LARGEST_ANSWER, LONGEST_WAIT, HttpTeacher
from legible.teachers.limit import keep_from_probes
from legible.teachers.local import LocalTeacher
from legible.teachers.prompt import ask, read_answer
from legible.truth.claims import Row
from legible.truth.facts import FactsLanguage
from legible.truth.languages import language_for
from legible.truth.probes import ProbeSet, known_labels
from legible.world import build_tokenizer, story_document


class Handler(BaseHTTPRequestHandler):
    """One request to the server; `passage` is the text that was asked about."""

    protocol_version = "HTTP/1.1"
    passage = ""

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.passage = body["messages"][0]["content"].split("<passage>\n")[1].removesuffix("\n</passage>")
        self.server.owner.serve(self, body)  # type: ignore[attr-defined]

    def log_message(self, *args: object) -> None:
        pass


Behaviour = Callable[[Handler], None]


def row_of(text: str) -> Row:
    return Row(Document(f"doc {text}", text), 3, len(text), max(0, len(text) - 8), 5, 4)


def reply(status: int, body: Any, **headers: str) -> Behaviour:
    content = body if isinstance(body, bytes) else json.dumps(body).encode()

    def behave(handler: Handler) -> None:
        handler.send_response(status)
        for name, value in {"content-length": str(len(content)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        handler.wfile.write(content)

    return behave


def chat(text: str | None, finish: str = "stop", **message: Any) -> Any:
    return {"choices": [{"message": {"role": "assistant", "content": text, **message}, "finish_reason": finish}]}


def claude(text: str, stop: str = "end_turn") -> Any:
    return {"content": [{"type": "text", "text": text}], "stop_reason": stop}


def cut_connection(handler: Handler) -> None:
    handler.connection.shutdown(socket.SHUT_RDWR)


def half_a_body(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "5000")
    handler.end_headers()
    handler.wfile.write(b'{"choices": [')
    handler.close_connection = True


def drip(handler: Handler) -> None:
    handler.send_response(200)
    handler.send_header("content-length", "100000")
    handler.end_headers()
    for _ in range(100):
        try:
            handler.wfile.write(b" ")
        except OSError:
            return
        time.sleep(0.05)


def hang(handler: Handler) -> None:
    time.sleep(1.0)


def no_end(handler: Handler) -> None:
    handler.send_response(200)
    handler.end_headers()
    for _ in range(3 * LARGEST_ANSWER // 65536):
        try:
            handler.wfile.write(b"x" * 65536)
        except OSError:
            return
    handler.close_connection = True


def broken_gzip(handler: Handler) -> None:
    reply(200, b"this is not gzip", content_encoding="gzip")(handler)


class Server:
    """A local endpoint that behaves as told, one behaviour a request; the last one repeats."""

    def __init__(self) -> None:
        self.behaviours: list[Behaviour] = [reply(200, chat("Someone is at the park."))]
        self.requests: list[tuple[str, dict[str, str], Any]] = []
        self.running = 0
        self.most_running = 0
        self._lock = threading.Lock()
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._http.owner = self  # type: ignore[attr-defined]
        self._http.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._http.server_port}/v1"
        threading.Thread(target=self._http.serve_forever, args=(0.01,), daemon=True).start()

    def serve(self, handler: Handler, body: Any) -> None:
        with self._lock:
            self.requests.append((handler.path, {k.lower(): v for k, v in handler.headers.items()}, body))
            self.running += 1
            self.most_running = max(self.most_running, self.running)
            behave = self.behaviours.pop(0) if len(self.behaviours) > 1 else self.behaviours[0]
        try:
            behave(handler)
        except OSError:
            handler.close_connection = True
        finally:
            with self._lock:
                self.running -= 1

    def close(self) -> None:
        self._http.shutdown()
        self._http.server_close()


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    running = Server()
    yield running
    running.close()


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


@pytest.mark.parametrize(
    ("teacher", "match"),
    [
        ("magic", "unknown teacher 'magic', expected world, facts, openai"),
        ("openai:", "unknown teacher 'openai:'"),
        ("local:", "unknown teacher 'local:'"),
        ("openai:m", "OPENAI_API_KEY is not set"),
        ("anthropic:m", "ANTHROPIC_API_KEY is not set"),
    ],
)
def test_a_teacher_that_cannot_be_is_refused_before_any_request(server: Server, teacher: str, match: str) -> None:
    with pytest.raises(UsageError, match=match):
        make_teacher(TeachConfig(teacher=teacher))


def test_impossible_settings_are_refused(server: Server) -> None:
    with pytest.raises(UsageError, match=r"teach.concurrency is 0, expected at least 1"):
        make_teacher(TeachConfig(teacher=f"openai:m@{server.url}", concurrency=0))


def test_a_file_that_is_no_cache_is_named(server: Server, tmp_path: Path) -> None:
    (tmp_path / "answers.sqlite").write_bytes(b"not a database at all" * 100)
    with pytest.raises(TeacherError, match=r"answers.sqlite is no cache"):
        make_teacher(TeachConfig(teacher=f"openai:m@{server.url}"), cache=tmp_path / "answers.sqlite")


def test_free_text_cannot_be_limited_by_probes(asking: Callable[..., HttpTeacher]) -> None:
    with pytest.raises(UsageError, match="cannot be limited by probes"):
        asking().write([row_of("once")], keep=[{"place"}])


class Rows:
    """A store of short passages."""

    def __init__(self, n: int) -> None:
        self.n = n

    def __len__(self) -> int:
        return self.n

    def row(self, index: int, /) -> Row:
        text = f"Once upon a time Lily saw {index} dogs in the park."
        return Row(Document(f"doc{index}", text), 9, len(text) - 1, len(text) - 9, 5, 4)


class SometimesSilent(FactsTeacher):
    """Refuses every tenth row."""

    calls = 0

    def write(self, rows: Any, keep: Any = None) -> list[Explanation | Refusal]:
        self.calls += 1
        return [
            Refusal("silent") if int(row.document.doc_id[3:]) % 10 == 0 else result
            for row, result in zip(rows, super().write(rows, keep), strict=True)
        ]


def test_the_stage_counts_what_was_written_and_refused(tmp_path: Path) -> None:
    seen: list[tuple[int, int]] = []
    out = tmp_path / "teach" / "train.jsonl"
    counts = teach(Rows(100), SometimesSilent(), out, progress=lambda done, total: seen.append((done, total)))
    assert counts == {"rows": 100, "written": 90, "refused": 10, "refused: silent": 10} == count_taught(out)
    assert seen == [(CHUNK, 100), (100, 100)]
    rows = list(read_taught(out))
    assert [row.row for row in rows] == list(range(100))
    assert rows[0].text is None
    assert {(claim.kind, claim.value) for claim in rows[1].claims} >= {("named", "Lily"), ("place", "park")}


@pytest.mark.parametrize("torn", [0, 1, 17, 2000, 10**6])
def test_a_torn_file_is_finished_to_the_same_bytes(tmp_path: Path, torn: int) -> None:
    whole, part = tmp_path / "whole.jsonl", tmp_path / "part.jsonl"
    teach(Rows(150), SometimesSilent(), whole)
    teach(Rows(150), SometimesSilent(), part)
    with part.open("rb+") as handle:
        handle.truncate(max(0, part.stat().st_size - torn))
    teach(Rows(150), SometimesSilent(), part)
    assert part.read_bytes() == whole.read_bytes()


def test_a_finished_stage_asks_nothing_again(tmp_path: Path) -> None:
    teach(Rows(CHUNK), SometimesSilent(), tmp_path / "t.jsonl")
    again = SometimesSilent()
    teach(Rows(CHUNK), again, tmp_path / "t.jsonl")
    assert again.calls == 0


def test_a_killed_stage_resumes_to_the_same_bytes(tmp_path: Path) -> None:
    script = (
        "import sys; from pathlib import Path; sys.path.insert(0, 'tests/unit'); import test_teachers as t;"
        "t.teach(t.Rows(200), t.SometimesSilent(), Path(sys.argv[1]))"
    )
    root = Path(__file__).parents[2]
    environment = {**os.environ, "LEGIBLE_FAULT": "teach:2", "PYTHONPATH": os.pathsep.join([str(root / "src")])}
    killed = subprocess.run([sys.executable, "-c", script, str(tmp_path / "part.jsonl")], cwd=root, env=environment)
    assert killed.returncode == -signal.SIGKILL
    assert 0 < (tmp_path / "part.jsonl").read_bytes().count(b"\n") < 200
    teach(Rows(200), SometimesSilent(), tmp_path / "part.jsonl")
    teach(Rows(200), SometimesSilent(), tmp_path / "whole.jsonl")
    assert (tmp_path / "part.jsonl").read_bytes() == (tmp_path / "whole.jsonl").read_bytes()


@pytest.mark.parametrize(("rows", "seed"), [(60, 0), (50, 1)])
def test_another_stage_never_goes_on_in_the_same_file(tmp_path: Path, rows: int, seed: int) -> None:
    out = tmp_path / "t.jsonl"
    teach(Rows(50), FactsTeacher(), out, seed=0)
    before = out.read_bytes()
    with pytest.raises(UsageError, match=r"t\.jsonl was begun differently: (rows was 50, now 60|seed was 0, now 1)"):
        teach(Rows(rows), FactsTeacher(), out, seed=seed)
    assert out.read_bytes() == before


def test_a_full_disk_is_named_and_the_stage_goes_on_afterwards(tmp_path: Path) -> None:
    out, whole = tmp_path / "t.jsonl", tmp_path / "whole.jsonl"
    teach(Rows(200), FactsTeacher(), whole)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    try:
        resource.setrlimit(resource.RLIMIT_FSIZE, (whole.stat().st_size * 2 // 3, limits[1]))
        with pytest.raises(TeacherError, match=r"cannot write .*t\.jsonl: File too large(.|\n)*run again"):
            teach(Rows(200), FactsTeacher(), out)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, ignored)
    teach(Rows(200), FactsTeacher(), out)
    assert out.read_bytes() == whole.read_bytes()


def test_a_limit_that_changes_is_another_stage(tmp_path: Path) -> None:
    teach(Rows(5), FactsTeacher(), tmp_path / "t.jsonl", keep=[{"place"}] * 5)
    teach(Rows(5), FactsTeacher(), tmp_path / "t.jsonl", keep=[{"place"}] * 5)
    with pytest.raises(UsageError, match="limit was"):
        teach(Rows(5), FactsTeacher(), tmp_path / "t.jsonl", keep=[{"mood"}] * 5)
    with pytest.raises(UsageError, match="limit covers 4 rows, the store holds 5"):
        teach(Rows(5), FactsTeacher(), tmp_path / "t.jsonl", keep=[{"place"}] * 4)


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


def test_a_file_of_unknown_origin_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "t.jsonl").write_text("mine\n")
    with pytest.raises(UsageError, match="nobody knows whose text"):
        teach(Rows(5), FactsTeacher(), tmp_path / "t.jsonl")
    with pytest.raises(UsageError, match="line 1 is not a teacher's line"):
        list(read_taught(tmp_path / "t.jsonl"))
    assert (tmp_path / "t.jsonl").read_text() == "mine\n"


@pytest.mark.parametrize("name", ["facts", "world"])
def test_a_language_teacher_states_only_what_it_may(name: str) -> None:
    teacher: Teacher = make_teacher(TeachConfig(teacher=name))
    language = language_for(name)
    assert language is not None
    document = story_document("train", 0, 1)
    end = document.text.rindex(" ")
    row = Row(document, 40, end, end - 12, 5, 4, (), None)
    (free,) = teacher.write([row])
    kept = set(language.probe_kinds[:3])
    (limited,) = teacher.write([row], [kept])
    assert isinstance(free, Explanation)
    assert isinstance(limited, Explanation)
    written = {claim.kind for claim in language.parse(limited.text).claims if claim.value is not None}
    assert written & set(language.probe_kinds) <= kept
    assert {claim.kind for claim in limited.claims} < {claim.kind for claim in free.claims}


def test_an_unknown_language_is_refused() -> None:
    assert language_for(None) is None
    with pytest.raises(UsageError, match="unknown language 'latin', expected 'world', 'facts' or none"):
        language_for("latin")


def test_a_limited_teacher_keeps_what_the_activation_shows() -> None:
    generator = torch.Generator().manual_seed(0)
    language = FactsLanguage()
    places = ("park", "house", "forest")
    rows = [
        row_of(f"Number {i} met a dog or cat at the {places[i % 3]} and {'he' if i % 2 else 'she'} was")
        for i in range(300)
    ]
    vectors = torch.randn(300, 16, generator=generator)
    for i in range(300):
        vectors[i, i % 3] += 12.0  # the place is in the vector, the pronoun is not
    facts = [language.facts(row) for row in rows]
    probes = ProbeSet.fit(vectors, known_labels(facts, ("place", "pronoun")), [row.document.doc_id for row in rows])
    keep = Counter(kind for kinds in keep_from_probes(probes, vectors, rows, language, threshold=0.8) for kind in kinds)
    assert keep["place"] > 270
    assert keep["pronoun"] < 60
    with pytest.raises(UsageError, match="threshold is 2, expected a probability"):
        keep_from_probes(probes, vectors, rows, language, threshold=2)


@pytest.fixture(scope="module")
def small_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    tokenizer = build_tokenizer()
    shape = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = LlamaForCausalLM(LlamaConfig(vocab_size=len(tokenizer), max_position_embeddings=2048, **shape))
    path = tmp_path_factory.mktemp("local")
    model.save_pretrained(path)
    tokenizer.save_pretrained(path)
    return path


@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_a_local_model_answers_every_row_the_same_way_each_time(small_model: Path, temperature: float) -> None:
    config = TeachConfig(teacher=f"local:{small_model}", max_tokens=12, temperature=temperature)
    rows = [row_of(f"Once upon a time there was number {i}") for i in range(10)]
    before = torch.get_rng_state()
    teacher = make_teacher(config)
    assert isinstance(teacher, LocalTeacher)
    first = teacher.write(rows)
    assert first == make_teacher(config).write(rows)
    assert len(first) == 10
    assert all(isinstance(result, Explanation | Refusal) for result in first)
    assert torch.equal(before, torch.get_rng_state())


def test_a_local_model_uses_its_chat_template_where_it_has_one(small_model: Path) -> None:
    teacher = LocalTeacher(str(small_model), TeachConfig(max_tokens=8))
    plain = teacher._prompt(ask("a passage"))
    teacher._tokenizer.chat_template = "{% for m in messages %}The user said {{ m['content'] }}{% endfor %} Now speak"
    chat_ids = teacher._prompt(ask("a passage"))
    assert chat_ids != plain
    assert all(isinstance(token, int) for token in chat_ids)


def test_a_local_model_without_room_for_the_request_says_so(small_model: Path) -> None:
    teacher = LocalTeacher(str(small_model), TeachConfig(max_tokens=2040))
    with pytest.raises(UsageError, match="has room for 8 prompt tokens"):
        teacher.write([row_of("once")])
