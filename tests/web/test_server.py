"""The HTTP API gives what the Python API gives, and streams it."""

import pytest
import torch
from fastapi.testclient import TestClient
from serving import TEXT, TOKEN, alike, as_json, events

from legible.engines.continuations import continue_text
from legible.serve.app import create_app
from legible.serve.completing import next_tokens
from legible.serve.settings import Settings
from legible.vectors import direction_mse


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
    options = {"max_tokens": 14, "temperature": temperature, "key": (3, 0), "stop_ids": target.end_ids}
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
    steer = pytest.importorskip("legible.steer.steering")
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
    monkeypatch.setattr(steering, "MODULE", "legible.steer.nothing_there")
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
