"""What a target would say behind every captured token: as behind that beginning alone, and kept in the store."""

import json
from pathlib import Path

import pytest
import torch
from capture_jobs import CONFIG, documents, tiny_target
from families import CONFIGS, tiny
from transformers import DynamicCache

from legible.config import CaptureConfig
from legible.data.batches import pad
from legible.data.capture import capture
from legible.data.store import Store
from legible.documents import Document
from legible.engines.continuations import (
    continue_beginnings,
    continue_prompts,
    continue_text,
    speaker,
    texts_behind,
)
from legible.errors import ConfigError, UsageError
from legible.languages.base import ENDED
from legible.reading.rows import rows_of, with_continuations

AHEAD = CaptureConfig(**(CONFIG.model_dump() | {"predictions": 3, "certainty": True, "continuations": 2}))


@pytest.fixture(scope="module")
def target():
    return tiny_target()


@pytest.fixture(scope="module")
def store(target, tmp_path_factory: pytest.TempPathFactory) -> Store:
    path = tmp_path_factory.mktemp("ahead")
    return capture(target, documents(12), AHEAD, path, speaker=speaker(target, AHEAD))


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_every_beginning_is_continued_as_if_it_stood_alone(family: str, temperature: float) -> None:
    target = tiny(family)
    generator = torch.Generator().manual_seed(3)
    ids = torch.randint(4, 48, (40,), generator=generator).tolist()
    ends, stop_ids = [2, 17, 9, 39, 30], [5, 6, 7, 8]
    keys = [(7, end) for end in ends]
    cache = DynamicCache()
    batch, mask = pad([ids, ids[:20], ids[:18]])
    places = [(1, 2), (2, 17), (0, 9), (0, 39), (0, 30)]
    logits = target.logits_at(batch, mask, *torch.tensor(places).T, cache=cache)
    found = continue_beginnings(
        target, cache, logits, places,
        samples=3, max_tokens=12, temperature=temperature, keys=keys, stop_ids=stop_ids,
    )  # fmt: skip
    for end, key, rows in zip(ends, keys, found, strict=True):
        alone = continue_text(target, ids[: end + 1], samples=3, max_tokens=12, temperature=temperature, key=key,
                              stop_ids=stop_ids)  # fmt: skip
        assert [row.ids for row in rows] == alone


@pytest.mark.parametrize("family", CONFIGS)
def test_prompts_written_together_go_on_as_each_would_alone(family: str) -> None:
    target = tiny(family)
    generator = torch.Generator().manual_seed(4)
    prompts = [torch.randint(4, 48, (length,), generator=generator).tolist() for length in (3, 20, 11)]
    keys = [(1, 0, 0), (1, 1, 0), (1, 2, 7)]
    found = continue_prompts(target, prompts, max_tokens=10, keys=keys, stop_ids=[5, 6])
    alone = [continue_text(target, prompt, samples=1, max_tokens=10, key=key, stop_ids=[5, 6])[0]
             for prompt, key in zip(prompts, keys, strict=True)]  # fmt: skip
    assert [row.ids for row in found] == alone


def test_a_prompt_without_room_is_refused(target) -> None:
    with pytest.raises(UsageError, match="cannot continue 60 tokens by 5"):
        continue_prompts(target, [[1] * 4, [1] * 60], max_tokens=5, keys=[(0, 0)] * 2)


def test_rows_hold_what_the_target_says_behind_them(target, store: Store) -> None:
    for row in list(store.rows())[::3]:
        ids = target.encode(row.document.text).ids[: row.pos + 1]
        logits = target.logits(torch.tensor([ids]), torch.ones(1, len(ids)))[0, -1]
        assert row.top_probability == pytest.approx(float(logits.softmax(-1).max()), abs=1e-5)
        assert len(row.continuations) == 2
        [again] = with_continuations(target, ids, [row], AHEAD)
        assert again.continuations == row.continuations


def test_a_greedy_continuation_is_the_targets_own_and_says_where_it_ended(target) -> None:
    greedy = AHEAD.model_copy(update={"continuations": 1})
    text = documents(12)[9].text
    encoded = target.encode(text)
    rows = with_continuations(target, encoded.ids, rows_of(documents(12)[9], encoded.ids, encoded.offsets)[:20], greedy)
    for row in rows:
        ids = encoded.ids[: row.pos + 1]
        kept = continue_text(target, ids, samples=1, max_tokens=16, temperature=0.0, stop_ids=target.end_ids)
        ended = len(kept[0]) < 16
        assert row.continuations == (texts_behind(target, ids, kept)[0] + ENDED * ended,)


def test_behind_the_last_tokens_of_a_full_context_nothing_is_said(target) -> None:
    text = "a " * target.context
    encoded = target.encode(text)
    rows = rows_of(Document("full", text), encoded.ids[: target.context], encoded.offsets[: target.context])
    said = with_continuations(target, encoded.ids[: target.context], [rows[10], rows[-1]], AHEAD)
    assert [len(row.continuations) for row in said] == [2, 0]


def test_a_store_that_asks_for_none_says_nothing_of_them(target, tmp_path: Path) -> None:
    plain = capture(target, documents(6), CONFIG, tmp_path)
    header = json.loads((plain.path / "manifest.json").read_text(encoding="utf-8"))["header"]
    assert not {"certainty", "continuations"} & header.keys()
    assert not {"certainty", "continuations", "continuation_tokens"} & header["origin"]["capture"].keys()
    assert not list(plain.path.glob("*.continuations.jsonl"))
    assert {(row.continuations, row.top_probability) for row in plain.rows()} == {((), None)}
    assert "certainty" not in CONFIG.positions_text()


def test_positions_say_what_is_captured_besides() -> None:
    again = CaptureConfig.from_positions(AHEAD.positions_text())
    assert (again.certainty, again.continuations, again.measured.continuations) == (True, 2, 8)
    assert CaptureConfig.from_positions(CONFIG.positions_text()).measured.continuations == 0
    with pytest.raises(ConfigError, match="certainty needs predictions"):
        CaptureConfig.from_positions("certainty=True")


def test_a_capture_of_continuations_needs_somebody_who_speaks(target, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing writes them"):
        capture(target, documents(6), AHEAD, tmp_path)
