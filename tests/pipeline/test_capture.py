"""Captured vectors are those of a plain forward, and a killed capture ends in the same bytes."""

import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from capture_jobs import CONFIG, documents, run, tiny_target

from legible import fileio
from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.data.positions import sentence_end_tokens
from legible.data.store import Store
from legible.documents import Document
from legible.errors import StoreError, UsageError
from legible.vectors import variance


@pytest.fixture(scope="module")
def target():
    return tiny_target()


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    return run(tmp_path_factory.mktemp("capture") / "store")


def contents(path: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in sorted(path.iterdir())}


def config(**changes: object) -> CaptureConfig:
    return CaptureConfig(**(CONFIG.model_dump() | changes))


def plain_forward(target, text: str) -> tuple[list[int], tuple[torch.Tensor, ...]]:
    ids = target.encode(text).ids[: CONFIG.max_tokens]
    with torch.no_grad():
        return ids, target.model(torch.tensor([ids]), output_hidden_states=True, use_cache=False).hidden_states


def test_every_vector_is_that_of_a_plain_unbatched_forward(target, tmp_path):
    exact = capture(target, documents(12), config(dtype="float32", layers=(0, 1)), tmp_path)
    for i, row in enumerate(exact.rows()):
        ids, hidden = plain_forward(target, row.document.text)
        assert row.token_id == ids[row.pos]
        assert row.prev_token_id == ids[row.pos - 1]
        for layer in (0, 1):
            assert torch.allclose(exact.vectors([i], layer)[0], hidden[layer + 1][0, row.pos], atol=1e-5)


def test_rows_say_where_they_stand(target, store):
    texts = {document.doc_id: document.text for document in documents()}
    for row in store.rows():
        offsets = target.encode(row.document.text).offsets
        assert texts[row.document.doc_id].startswith(row.document.text)
        assert row.prefix == row.document.text[: offsets[row.pos][1]]
        assert len(row.recent.split()) <= 8
        assert row.prefix.endswith(row.recent)
        assert row.pos >= CONFIG.min_pos
    ends = [row.prefix[-1] in ".!?" for row in store.rows()]
    assert sum(ends) / len(ends) > 0.3


def test_what_is_left_out_is_counted(target, store):
    lengths = [len(target.encode(document.text).ids) for document in documents()]
    assert store.counts == {
        "documents": 40,
        "short": sum(length <= CONFIG.min_pos for length in lengths),
        "truncated": sum(length > CONFIG.max_tokens for length in lengths),
    }
    assert store.counts["short"] > 0
    assert store.counts["truncated"] > 0
    assert max(store.pos) < CONFIG.max_tokens
    assert store.variance(2)["documents"] == 40 - store.counts["short"]
    assert store.variance(2)["value"] == pytest.approx(variance(store.vectors(range(len(store)), 2)), abs=1e-6)


def test_sampled_positions_do_not_depend_on_the_other_documents(target, store, tmp_path):
    few = capture(target, documents()[::-1][:9], CONFIG, tmp_path)
    expected = {(row.document.doc_id, row.pos) for row in store.rows()}
    assert {(row.document.doc_id, row.pos) for row in few.rows()} <= expected


def test_predictions_are_the_targets_own(target, tmp_path):
    both = capture(target, documents(6), config(predictions=3, dtype="float32"), tmp_path / "both")
    alone = capture(target, documents(6), config(dtype="float32"), tmp_path / "alone")
    everything = range(len(alone))
    for layer in CONFIG.layers:  # the full pass with logits reads the same streams as the stopped one
        assert torch.allclose(both.vectors(everything, layer), alone.vectors(everything, layer), atol=1e-5)
    for row in both.rows():
        ids = torch.tensor([target.encode(row.document.text).ids])
        logits = target.logits(ids, torch.ones_like(ids))[0]
        assert row.surprise == pytest.approx(-logits[row.pos - 1].log_softmax(-1)[row.token_id].item(), abs=1e-4)
        lead = target.tokenizer.decode(ids[0, 1 : row.pos + 1])
        top = logits[row.pos].topk(3).indices.tolist()
        assert row.predictions == tuple(
            target.tokenizer.decode([*ids[0, 1 : row.pos + 1].tolist(), i])[len(lead) :] for i in top
        )


@pytest.mark.parametrize("fault", ["shard:4", "rename:7"])
def test_a_capture_killed_by_sigkill_ends_in_the_same_bytes(store, tmp_path, fault):
    killed = kill_at(fault, tmp_path)
    assert killed == -signal.SIGKILL
    assert run(tmp_path).counts == store.counts
    assert contents(tmp_path) == contents(store.path)


@pytest.mark.slow
@pytest.mark.parametrize("point", ["shard", "rename"])
def test_a_capture_killed_again_and_again_ends_in_the_same_bytes(store, tmp_path, point):
    for _ in range(60):
        if kill_at(f"{point}:6", tmp_path) == 0:  # five files a shard: one more shard each time
            break
    assert contents(tmp_path) == contents(store.path)


def kill_at(fault: str, out: Path) -> int:
    command = [sys.executable, str(Path(__file__).parent / "capture_jobs.py"), str(out)]
    path = os.pathsep.join([str(Path(fileio.__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    environment = os.environ | {"LEGIBLE_FAULT": fault, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    return subprocess.run(command, env=environment, check=False).returncode


def test_a_finished_capture_is_not_made_again(store, target, monkeypatch):
    before = contents(store.path)
    monkeypatch.setattr(target, "streams", None)  # a forward pass would fail
    assert len(capture(target, documents(), CONFIG, store.path)) == len(store)
    assert contents(store.path) == before


@pytest.mark.parametrize("change", ["fewer", "more", "other"])
def test_a_capture_of_other_documents_is_not_continued(store, target, change):
    given = {"fewer": documents(39), "more": documents(41), "other": [Document("x", "A b."), *documents()[1:]]}[change]
    before = contents(store.path)
    with pytest.raises(UsageError, match="holds activations of other documents"):
        capture(target, given, CONFIG, store.path)
    assert contents(store.path) == before


def test_a_changed_setting_is_named(store, target):
    with pytest.raises(UsageError, match=r"differs in origin\.capture\.min_pos \(6 there, 9 now\)"):
        capture(target, documents(), config(min_pos=9), store.path)


def test_progress_tells_documents_and_rows(target, tmp_path):
    told: list[tuple[int, int]] = []
    made = capture(target, documents(), CONFIG, tmp_path, progress=lambda done, rows: told.append((done, rows)))
    assert told == sorted(told)
    assert told[-1][1] == len(made)
    assert told[-1][0] <= 40


@pytest.mark.parametrize("layers", [(3,), (-1,), (0, 7), ()])
def test_a_layer_out_of_range_is_told_before_any_work(target, tmp_path, layers):
    with pytest.raises(UsageError, match=r"expected numbers from 0 to 2"):
        capture(target, documents(), config(layers=layers), tmp_path / "s")
    assert not (tmp_path / "s").exists()


def test_no_token_to_read_is_told(target, tmp_path):
    with pytest.raises(UsageError, match=r"would hold 0 row\(s\).*\n.*documents shorter"):
        capture(target, [Document("a", "Anna ."), Document("b", " ")], CONFIG, tmp_path)


def test_a_target_that_gives_nan_is_told(target, tmp_path, monkeypatch):
    streams = target.streams
    monkeypatch.setattr(target, "streams", lambda *a: {k: v * float("nan") for k, v in streams(*a).items()})
    with pytest.raises(StoreError, match="largest nan"):
        capture(target, documents(), CONFIG, tmp_path)


def test_a_long_text_is_not_encoded_whole_yet_to_the_same_tokens(target, tmp_path):
    book = " ".join(document.text for document in documents(40)) * 30
    whole = target.encode(book)
    made = capture(target, [Document("book", book)], config(dtype="float32"), tmp_path)
    last = whole.offsets[CONFIG.max_tokens - 1][1]
    assert made.documents()["book"].text == book[:last]
    assert made.counts == {"documents": 1, "short": 0, "truncated": 1}
    assert [row.token_id for row in made.rows()] == [whole.ids[row.pos] for row in made.rows()]
    assert set(made.pos) & set(sentence_end_tokens(book, whole.offsets[: CONFIG.max_tokens]))


def test_the_finished_store_verifies(store):
    assert len(Store.open(store.path, verify=True)) == len(store)


def test_repaired_documents_are_counted_also_over_a_resumed_capture(target, tmp_path):
    whole = [replace(document, repaired=number % 2 == 0) for number, document in enumerate(documents(12))]
    store = capture(target, whole, config(), tmp_path / "a")
    assert store.counts["repaired"] == 6
    assert "repaired" not in capture(target, documents(12), config(), tmp_path / "b").counts


def test_half_a_character_is_encoded_as_the_replacement_it_will_be(target):
    assert target.encode("Pavel \ud83d kept.") == target.encode("Pavel \ufffd kept.")
