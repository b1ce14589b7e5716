"""The HTTP API gives what the Python API gives, streams it, and stops working for those who leave."""

import asyncio
import copy
import json
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest
import torch
from fastapi.testclient import TestClient
from serving import TEXT, TOKEN, running, until

from legible.engines.continuations import continue_text
from legible.serve.app import create_app
from legible.serve.completing import next_tokens
from legible.serve.settings import Settings
from legible.serve.sources import Source, source_ids
from legible.vectors import direction_mse

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)


def events(text):
    """The frames of an event stream; its end mark is checked."""
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line.startswith("data: ")]
    assert lines[-1] == "[DONE]"
    return [json.loads(line) for line in lines[:-1]]


def as_json(value):
    return json.loads(json.dumps(value))


def alike(found, expected):
    """Equal, but for the rounding of numbers that were computed in other company."""
    if isinstance(expected, dict):
        return found.keys() == expected.keys() and all(alike(found[key], expected[key]) for key in expected)
    if isinstance(expected, list):
        return len(found) == len(expected) and all(map(alike, found, expected))
    return found == (pytest.approx(expected, abs=1e-3) if isinstance(expected, float) else expected)


def test_sources_describe_what_is_loaded(client, reader):
    (source,) = client.get("/api/v1/sources").json()["sources"]
    assert source["id"] == "builtin"
    assert source["layer"] == reader.checkpoint.layer
    assert source["variance"] == reader.checkpoint.variance
    assert source["d_model"] == 128
    assert source["language"] == "world"
    assert "/" not in source["target"]


def test_tokens_know_their_places(client, reader):
    answer = client.post("/api/v1/tokenize", json={"text": TEXT}).json()
    assert [token["token_id"] for token in answer["tokens"]] == reader.checkpoint.target.encode(TEXT).ids
    assert [token["pos"] for token in answer["tokens"]] == list(range(answer["prompt_length"]))
    assert all(TEXT[token["start"] : token["end"]] == token["token"] for token in answer["tokens"][1:])
    assert [token["special"] for token in answer["tokens"]] == [True] + [False] * (answer["prompt_length"] - 1)


@pytest.mark.parametrize(("positions", "spec"), [("-4:", "-4:"), ([5, 12, -1], "5,12,-1")])
def test_a_reading_is_that_of_the_python_api(client, reader, positions, spec):
    body = {"text": TEXT, "positions": positions, "samples": 3, "seed": 4}
    answer = client.post("/api/v1/read", json=body).json()
    expected = reader.read(TEXT, positions=spec, samples=3, seed=4)
    assert alike(answer["readings"], as_json([r.as_dict() for r in expected]))


def test_a_stream_says_the_same_in_frames(client):
    whole = client.post("/api/v1/read", json={"text": TEXT, "positions": "-6:"}).json()
    response = client.post("/api/v1/read", json={"text": TEXT, "positions": "-6:", "stream": True})
    assert response.headers["content-type"].startswith("text/event-stream")
    start, *frames, end = events(response.text)
    assert (start["type"], start["total"], start["prompt_length"]) == ("start", 6, whole["prompt_length"])
    assert [token["pos"] for token in start["tokens"]] == list(range(whole["prompt_length"]))
    readings = [frame for frame in frames if frame["type"] == "reading"]
    assert alike([{k: v for k, v in frame.items() if k != "type"} for frame in readings], whole["readings"])
    drafts = {frame["pos"]: (place, frame) for place, frame in enumerate(frames) if frame["type"] == "draft"}
    for reading in readings:  # each token's words come before what is measured of them
        place, draft = drafts.pop(reading["pos"])
        assert draft["explanation"] == reading["explanation"]
        assert place < frames.index(reading)
    assert not drafts
    assert end == {"type": "end", "readings": 6}


@pytest.mark.parametrize("samples", [1, 2])
def test_what_is_measured_does_not_depend_on_how_a_text_was_shared_out(reader, samples):
    """Recurrence compares neighbouring tokens, which a small batch writes at different times."""
    app = create_app({"builtin": reader}, Settings(token=TOKEN, batch=5, quantum=5))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        body = {"text": TEXT, "positions": "2:6,8,9,11:", "samples": samples, "temperature": 0.5}
        found = client.post("/api/v1/read", json=body).json()["readings"]
    expected = reader.read(TEXT, positions="2:6,8,9,11:", samples=samples, temperature=0.5)
    assert [[c["recurrence"] for c in r["claims"]] for r in found] == [
        [claim.recurrence for claim in r.claims] for r in expected
    ]
    assert alike(found, as_json([r.as_dict() for r in expected]))


def test_readings_without_claims_cost_less_and_score_the_same(client, app):
    whole = client.post("/api/v1/read", json={"text": TEXT, "positions": "-3:"}).json()["readings"]
    plain = client.post("/api/v1/read", json={"text": TEXT, "positions": "-3:", "claims": False}).json()["readings"]
    assert [r["claims"] for r in plain] == [[], [], []]
    assert all(r["claims"] for r in whole)
    assert [r["direction_mse"] for r in plain] == pytest.approx([r["direction_mse"] for r in whole], abs=1e-5)


def test_a_trust_filter_withholds_as_the_python_api_does(client, reader):
    answer = client.post("/api/v1/read", json={"text": TEXT, "positions": "-2:", "trust": 0.9}).json()
    assert alike(answer["readings"], as_json([r.as_dict() for r in reader.read(TEXT, positions="-2:", trust=0.9)]))
    assert all("withheld" in reading for reading in answer["readings"])


def test_raw_vectors_are_explained_as_in_their_text(client, reader):
    read = client.post("/api/v1/read", json={"text": TEXT, "positions": "-2:"}).json()["readings"]
    ids = torch.tensor([reader.checkpoint.target.encode(TEXT).ids])
    vectors = reader.checkpoint.target.streams(ids, torch.ones_like(ids), (2,))[2][0, -2:]
    answer = client.post("/api/v1/explain", json={"vectors": vectors.tolist()}).json()
    assert [found["explanation"] for found in answer["explanations"]] == [found["explanation"] for found in read]
    assert [found["index"] for found in answer["explanations"]] == [0, 1]
    for found, expected in zip(answer["explanations"], read, strict=True):
        assert found["direction_mse"] == pytest.approx(expected["direction_mse"], abs=1e-5)
    streamed = client.post("/api/v1/explain", json={"vectors": vectors.tolist(), "stream": True, "samples": 2})
    assert [frame["type"] for frame in events(streamed.text)] == ["start", "explanation", "explanation", "end"]


def test_a_score_is_the_reconstructors(client, reader):
    words = ["Pavel holds a hammer.", "It rains."]
    ids = torch.tensor([reader.checkpoint.target.encode(TEXT).ids])
    vector = reader.checkpoint.target.streams(ids, torch.ones_like(ids), (2,))[2][0, -1]
    expected = direction_mse(reader.checkpoint.reconstructor.reconstruct(words), vector.expand(2, -1)).tolist()
    by_place = client.post("/api/v1/score", json={"explanations": words, "text": TEXT, "pos": -1}).json()
    by_vector = client.post("/api/v1/score", json={"explanations": words, "vector": vector.tolist()}).json()
    for answer in (by_place, by_vector):
        assert [score["direction_mse"] for score in answer["scores"]] == pytest.approx(expected, abs=1e-5)
        assert answer["scores"][0]["fve_token"] == pytest.approx(1 - expected[0] / reader.checkpoint.variance)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_streamed_tokens_are_those_of_a_continuation(reader, temperature):
    target = reader.checkpoint.target
    ids = target.encode(TEXT).ids
    options = {"max_tokens": 14, "temperature": temperature, "seed": 3, "stop_ids": (target.eos_id,)}
    with torch.no_grad():
        assert list(next_tokens(target, ids, **options)) == continue_text(target, ids, samples=1, **options)[0]


def test_a_completion_reads_on(client):
    body = {"text": TEXT, "max_tokens": 10, "temperature": 1.0, "seed": 1}
    whole = client.post("/api/v1/complete", json=body).json()
    frames = events(client.post("/api/v1/complete", json=body | {"stream": True}).text)
    assert [frame["type"] for frame in frames] == ["prompt", *["token"] * 10, "end"]
    assert "".join(frame["token"] for frame in frames if frame["type"] == "token") == whole["completion"]
    assert whole["full_text"] == TEXT + whole["completion"]
    again = client.post("/api/v1/tokenize", json={"text": whole["full_text"]}).json()
    assert [t["token_id"] for t in again["tokens"]][-10:] == whole["completion_ids"]


def test_steering_is_that_of_the_python_api(client, reader):
    steer = pytest.importorskip("legible.analysis.steer")
    text, options = "Mira was a fox. Mira wanted the ring.", {"pos": -1, "strengths": [0.2, 0.5], "max_tokens": 12}
    body = {"text": text, "edits": [{"find": "ring", "replace": "pie"}], **options}
    answer = client.post("/api/v1/steer", json=body).json()
    expected = steer.steer_text(reader, text, edits=[("ring", "pie")], **options).as_dict()
    assert alike(answer, as_json({"source": "builtin", **expected}))
    refused = client.post("/api/v1/steer", json=body | {"edits": [{"find": "zebra", "replace": "pie"}]})
    assert refused.status_code == 400
    many = client.post("/api/v1/steer", json=body | {"samples": 16, "max_tokens": 256})
    assert (many.status_code, "more than 20000 tokens" in many.json()["error"]) == (422, True)


def test_steering_answers_501_until_it_is_installed_and_hands_over_every_field(client, monkeypatch):
    import legible.serve.steering as steering

    body = {"text": TEXT, "pos": -1, "edits": [{"find": "hammer", "replace": "lamp"}], "strengths": [1, 2]}
    monkeypatch.setattr(steering, "MODULE", "legible.analysis.nothing_there")
    response = client.post("/api/v1/steer", json=body)
    assert (response.status_code, response.json()) == (501, {"error": "steering is not part of this installation."})

    class Result:
        def __init__(self, **options):
            self.options = options

        def as_dict(self):
            return {"asked": self.options}

    def steer_text(reader, text, **options):
        return Result(text=text, **options)

    monkeypatch.setattr("legible.serve.routes.steer_function", lambda: steer_text)
    monkeypatch.setattr(steering, "steer_function", lambda: steer_text)
    asked = client.post("/api/v1/steer", json=body).json()["asked"]
    assert asked["edits"] == [["hammer", "lamp"]]
    assert asked["strengths"] == [1, 2]
    assert asked["mode"] == "later"


def test_a_job_reads_texts_one_by_one_and_keeps_their_results(client, reader):
    body = {"texts": [TEXT, "word " * 400, "Pavel kept a hammer in the pocket."], "positions": "-1"}
    started = client.post("/api/v1/jobs", json=body)
    assert started.status_code == 202
    where = f"/api/v1/jobs/{started.json()['id']}"
    until(lambda: client.get(where).json()["state"] == "done")
    job = client.get(where).json()
    assert (job["done"], job["total"]) == (3, 3)
    results = {result["index"]: result for result in job["results"]}
    assert alike(results[0]["readings"], as_json([r.as_dict() for r in reader.read(TEXT, positions="-1")]))
    assert "context is 288" in results[1]["error"]
    assert [r["pos"] for r in results[2]["readings"]] == [
        reader.read("Pavel kept a hammer in the pocket.", positions="-1")[0].pos
    ]
    assert client.get(where, params={"offset": 2, "limit": 5}).json()["results"] == job["results"][2:]
    assert started.json()["id"] in {job["id"] for job in client.get("/api/v1/jobs").json()["jobs"]}
    assert client.delete(where).status_code == 200
    assert client.get(where).status_code == 404


def test_a_cancelled_job_stops_costing_work(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        id_ = client.post("/api/v1/jobs", json={"texts": [TEXT] * 500, "positions": "-1"}).json()["id"]
        until(lambda: client.get(f"/api/v1/jobs/{id_}", params={"limit": 0}).json()["done"] > 0)
        assert client.delete(f"/api/v1/jobs/{id_}").json()["state"] == "cancelled"
        client.post("/api/v1/tokenize", json={"text": TEXT})  # the turn in which it was cancelled is over
        before = app.state.worker.written
        client.post("/api/v1/read", json={"text": TEXT, "positions": "-1"})
        assert app.state.worker.written == before + 1
        assert before < 100


def test_results_of_jobs_are_bounded(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN, job_bytes=2000, jobs=2))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        big = client.post("/api/v1/jobs", json={"texts": [TEXT] * 9, "positions": "-1"}).json()["id"]
        until(lambda: client.get(f"/api/v1/jobs/{big}").json()["state"] == "failed")
        assert "exceed 2000 bytes" in client.get(f"/api/v1/jobs/{big}").json()["error"]
        others = [client.post("/api/v1/jobs", json={"texts": [TEXT], "positions": "0"}).json()["id"] for _ in range(2)]
        assert client.get(f"/api/v1/jobs/{big}").status_code == 404  # the oldest finished one made room
        assert client.get(f"/api/v1/jobs/{others[1]}").status_code == 200


def test_stored_reports_are_served_and_only_those(reader, tmp_path, monkeypatch):
    folder = tmp_path / "run" / "checkpoint"
    folder.mkdir(parents=True)
    (tmp_path / "run" / "report.json").write_text(json.dumps({"fve": 0.5, "config": {"out": str(tmp_path)}}))
    moved = copy.copy(reader)
    moved.checkpoint = copy.copy(reader.checkpoint)
    object.__setattr__(moved.checkpoint, "path", folder)
    app = create_app({"a": reader, "b": moved}, Settings(token=TOKEN))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        assert client.get("/api/v1/evaluation/b").json() == {"source": "b", "evaluation": {"fve": 0.5}, "truth": None}
        assert client.get("/api/v1/sources").json()["sources"][1]["reports"] == ["evaluation"]
        assert client.get("/api/v1/evaluation/..%2fb").status_code == 404
        assert client.post("/api/v1/read", json={"text": TEXT, "source": "/etc"}).status_code == 404


@pytest.fixture
def chatting(reader):
    """A client of a server whose target has a chat template."""
    talker = copy.copy(reader)
    talker.checkpoint = copy.copy(reader.checkpoint)
    target = copy.copy(reader.checkpoint.target)
    target.tokenizer = copy.deepcopy(target.tokenizer)
    target.tokenizer.chat_template = TEMPLATE
    object.__setattr__(talker.checkpoint, "target", target)
    app = create_app({"talker": talker}, Settings(token=TOKEN))
    with TestClient(app, base_url="http://127.0.0.1", headers={"x-api-key": TOKEN}) as client:
        yield client


CHAT = [
    {"role": "user", "content": "Pavel kept a hammer in the pocket."},
    {"role": "assistant", "content": "He rested."},
]


def test_chats_are_rendered_with_the_targets_template_and_its_tokens_flagged(chatting, client):
    answer = chatting.post("/api/v1/tokenize", json={"messages": CHAT}).json()
    assert answer["text"] == "".join(f"<s>{turn['role']}: {turn['content']}\n" for turn in CHAT)
    said = "".join(token["token"] for token in answer["tokens"] if not token["template"])
    assert said.split() == " ".join(turn["content"] for turn in CHAT).split()
    assert [token["token_id"] for token in answer["tokens"]].count(1) == 2  # no second start token is added
    readings = chatting.post("/api/v1/read", json={"messages": CHAT, "positions": "0,-2"}).json()["readings"]
    assert ["template_token" in reading["flags"] for reading in readings] == [True, False]
    refused = client.post("/api/v1/read", json={"messages": CHAT})
    assert (refused.status_code, "no chat template" in refused.json()["error"]) == (400, True)


def test_a_neuronpedia_client_works_after_changing_the_host(chatting):
    """The order and shapes of public clients: sources, a chat's completion, then explain on its full text."""
    (source,) = chatting.get("/api/nla/sources").json()["sources"]
    who = {"modelId": source["modelId"], "nlaSourceId": source["id"]}
    chat = {"messages": CHAT[:1], "completion_tokens": 6, "temperature": 0.4}
    done = chatting.post("/api/nla/completion", json=who | chat).json()
    assert done["full_text"].endswith(done["completion"])
    assert done["full_text"].startswith("user: ")  # the start token is added again when it is read
    assert [token["position"] for token in done["tokens"]] == list(range(len(done["tokens"])))
    asked = who | {"text": done["full_text"], "positions": [7, 3, 3], "temperature": 0.7, "priorCacheId": "ignored"}
    explained = chatting.post("/api/nla/explain", json=asked).json()
    assert (explained["layer_index"], explained["prompt_length"]) == (source["layerNum"], len(done["tokens"]))
    assert [result["position"] for result in explained["results"]] == [3, 7]
    for result in explained["results"]:
        assert result["token"] == done["tokens"][result["position"]]["token"]
        assert result["cosine"] == result["cosine_similarity"]
        assert result["mse"] == pytest.approx(2 * (1 - result["cosine"]) / 0.94688, rel=1e-4)
    head, *frames = events(chatting.post("/api/nla/explain", json=asked | {"stream": True}).text)
    assert head == {"layer_index": 2, "total": 2, "prompt_length": explained["prompt_length"]}
    assert alike(frames, explained["results"])
    prompt, *tokens = events(chatting.post("/api/nla/completion", json=who | chat | {"stream": True}).text)
    assert (prompt["type"], prompt["prompt_length"]) == ("prompt", len(prompt["tokens"]))
    assert "".join(frame["token"]["token"] for frame in tokens if frame["type"] == "token") == done["completion"]
    only = chatting.post("/api/nla/completion", json=who | {"text": done["full_text"], "completion_tokens": 0}).json()
    assert only["tokens"] == done["tokens"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"positions": [0]}, "Provide either"),
        ({"text": "Hi", "positions": [0], "nlaSourceId": "kitft-l41"}, "no such NLA source"),
        ({"text": "Hi", "positions": []}, "positions"),
        ({"text": "Hi", "positions": [50]}, "out of range"),
    ],
)
def test_neuronpedia_errors_are_objects_with_error(client, body, said):
    response = client.post("/api/nla/explain", json=body)
    assert 400 <= response.status_code < 500
    assert said in response.json()["error"]


class Slow:
    """The reader's engine, holding its breath while a test looks."""

    def __init__(self, engine):
        self.engine, self.rows = engine, 0

    def generate(self, vectors, **options):
        time.sleep(0.05)
        self.rows += len(vectors)
        return self.engine.generate(vectors, **options)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_hangs_up_stops_costing_work(reader, stream):
    app = create_app({"builtin": reader}, Settings(token=TOKEN, batch=2, quantum=2))
    source = app.state.sources["builtin"]
    source.engine = slow = Slow(source.engine)
    body = {"text": TEXT * 4, "samples": 1, "stream": stream}
    with running(app) as url, httpx.Client(base_url=url, headers={"x-api-key": TOKEN}, timeout=60) as client:
        total = client.post("/api/v1/tokenize", json={"text": body["text"]}).json()["prompt_length"]
        request = client.build_request("POST", "/api/v1/read", json=body)
        head = [f"{name}: {value}" for name, value in request.headers.items()]
        with socket.create_connection((request.url.host, request.url.port), timeout=60) as caller:
            caller.sendall("\r\n".join(["POST /api/v1/read HTTP/1.1", *head, "", ""]).encode() + request.content)
            until(lambda: slow.rows >= 2)
        until(lambda: not app.state.worker._live)
        spent = slow.rows
        assert spent < total
        client.post("/api/v1/read", json={"text": TEXT, "positions": "-1"})
        assert slow.rows == spent + 1


def test_many_readers_at_once_all_get_their_own_answer(reader):
    app = create_app({"builtin": reader}, Settings(token=TOKEN))
    texts = [
        f"Our hero {name} rested beside the {place}." for name in ("Pavel", "Mina") for place in ("desert", "barn")
    ]
    expected = {text: as_json([r.as_dict() for r in reader.read(text, positions="-2:")]) for text in texts}

    async def ask(client, text):
        answer = await client.post("/api/v1/read", json={"text": text, "positions": "-2:"})
        return text, answer.json()["readings"]

    async def everyone(url):
        async with httpx.AsyncClient(base_url=url, headers={"x-api-key": TOKEN}, timeout=60) as client:
            return await asyncio.gather(*(ask(client, text) for text in texts * 4))

    with running(app) as url:
        for text, readings in asyncio.run(everyone(url)):
            assert [r["explanation"] for r in readings] == [r["explanation"] for r in expected[text]]
            assert [r["token"] for r in readings] == [r["token"] for r in expected[text]]


def test_every_route_stands_in_the_documentation(app):
    page = (Path(__file__).parents[2] / "docs" / "api.md").read_text(encoding="utf-8")
    for path, methods in app.openapi()["paths"].items():
        assert path in page, path
        for name in methods:
            assert re.search(rf"{name.upper()} {re.escape(path)}", page), (name, path)


def test_ids_of_sources_are_short_and_unique():
    assert source_ids(["builtin", "runs/tiny/checkpoint", "/a/b/tiny/", "org/name", "ü ü", "a/<img src=x>"]) == [
        "builtin", "tiny", "tiny-2", "name", "checkpoint", "img-src-x",
    ]  # fmt: skip


def test_a_source_names_no_folder(reader):
    moved = copy.copy(reader)
    moved.checkpoint = copy.copy(reader.checkpoint)
    target = copy.copy(reader.checkpoint.target)
    target.name = "/somewhere/private/my-target"
    object.__setattr__(moved.checkpoint, "target", target)
    object.__setattr__(moved.checkpoint, "contract", reader.checkpoint.contract.model_copy(update={"legible": None}))
    assert Source("x", moved).target_name == "my-target"


def test_the_program_prints_its_address_serves_and_stops_cleanly():
    command = [sys.executable, "-m", "legible.cli.main", "serve", "--port", "0", "--no-open", "--threads", "1"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        address = process.stdout.readline().strip()
        base, token = re.fullmatch(r"(http://127\.0\.0\.1:\d+/)#token=([\w-]{43})", address).groups()
        assert httpx.get(base, timeout=60).status_code == 200
        assert httpx.get(f"{base}api/v1/sources", timeout=60).status_code == 401
        answer = httpx.get(f"{base}api/v1/sources", headers={"authorization": f"Bearer {token}"}, timeout=60)
        assert answer.json()["sources"][0]["id"] == "builtin"
        httpx.get(f"{base}{token}/?token={token}", timeout=60)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=90)
    finally:
        process.kill()
    assert process.returncode == 0
    assert out == ""
    assert token not in err
    assert "stopped" in err
