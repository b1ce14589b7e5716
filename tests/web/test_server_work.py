"""What is asked of the server is done in turns: jobs, many at once, and nothing more for those who leave."""

import asyncio
import socket
import time

import httpx
import pytest
from fastapi.testclient import TestClient
from serving import TEXT, TOKEN, alike, as_json, running, until

from legible.serve.app import create_app
from legible.serve.settings import Settings


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


class Slow:
    """The reader's engine, holding its breath while a test looks."""

    def __init__(self, engine):
        self.engine, self.rows = engine, 0

    def generate(self, *given, **options):
        time.sleep(0.05)
        self.rows += len(given[0])
        return self.engine.generate(*given, **options)


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
