"""Chats are rendered with the template of the target, and clients of Neuronpedia work after changing the host."""

import copy

import pytest
from fastapi.testclient import TestClient
from serving import TOKEN, alike, events

from legible.reading.opening import load_checkpoint
from legible.serve.app import create_app
from legible.serve.settings import Settings

TEMPLATE = (
    "{% for m in messages %}<s>{{ m.role }}: {{ m.content | trim }}\n{% endfor %}"
    "{% if add_generation_prompt %}<s>assistant:{% endif %}"
)

CHAT = [
    {"role": "user", "content": "Pavel kept a hammer in the pocket."},
    {"role": "assistant", "content": "He rested."},
]


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
    variance = load_checkpoint("builtin").variance
    for result in explained["results"]:
        assert result["token"] == done["tokens"][result["position"]]["token"]
        assert result["cosine"] == result["cosine_similarity"]
        assert result["mse"] == pytest.approx(2 * (1 - result["cosine"]) / variance, rel=1e-4)
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
