"""Reading through the public faces: `legible.load(...).read(...)` and `legible read`, on a very small run."""

import json

import pytest
import torch

import legible
from legible.languages.world import story_document
from legible.models.target import Encoded
from legible.reading.flags import text_flags
from legible.reading.html import reading_page
from legible.vectors import direction_mse

KEYS = {
    "pos", "token", "token_id", "layer", "norm", "flags", "explanation", "direction_mse", "fve_token", "claims",
}  # fmt: skip
CLAIM_KEYS = {"subject", "relation", "value", "polarity", "family", "text", "p_true", "parsed", "agreement", "leverage",
              "recurrence", "probe"}  # fmt: skip
TEXT = "Our hero Pavel rested beside the desert."


@pytest.fixture(scope="module")
def reader(micro_run):
    return legible.load(micro_run)


def test_a_text_gives_one_reading_a_token(reader):
    readings = reader.read(TEXT)
    ids = reader.checkpoint.target.encode(TEXT).ids
    assert [reading.token_id for reading in readings] == ids
    assert [reading.pos for reading in readings] == list(range(len(ids)))
    assert "".join(reading.token for reading in readings[1:]) == TEXT


def test_scores_are_those_of_the_words_alone(reader):
    reading = reader.read(TEXT, positions="-1")[0]
    ids = torch.tensor([reader.checkpoint.target.encode(TEXT).ids])
    layer = reader.checkpoint.layer
    vector = reader.checkpoint.target.streams(ids, torch.ones_like(ids), (layer,))[layer][0, -1]
    back = reader.checkpoint.reconstructor.reconstruct([reading.explanation])[0]
    assert reading.norm == pytest.approx(float(vector.norm()), rel=1e-5)
    assert reading.direction_mse == pytest.approx(float(direction_mse(back, vector)), abs=1e-5)
    assert reading.fve_token == pytest.approx(1 - reading.direction_mse / reader.checkpoint.variance, abs=1e-5)


def test_a_reading_does_not_depend_on_what_else_is_read(reader):
    alone = reader.read(TEXT, positions="4")[0]
    among = next(reading for reading in reader.read(TEXT) if reading.pos == 4)
    assert alone.explanation == among.explanation
    assert alone.direction_mse == pytest.approx(among.direction_mse, abs=1e-5)


def test_samples_follow_their_seed_and_the_best_is_shown(reader):
    first, again = (reader.read(TEXT, positions="3,5", samples=3, seed=7) for _ in range(2))
    assert first == again
    for reading in first:
        errors = [mse for _, mse in reading.samples if mse is not None]
        assert len(reading.samples) == 3
        assert reading.direction_mse == min(errors, default=None)
        assert all(0 < claim.agreement <= 1 for claim in reading.claims)


def test_claims_about_a_known_story_have_verdicts(reader):
    document = story_document("test", 0, 0)
    verdicts = {c.verdict for r in reader.read(document, positions="20::10") for c in r.claims}
    assert verdicts <= {"true", "false", "open", "abstain"}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"text": "  "}, "text is empty"),
        ({"text": "the fox " * 300}, r"601 tokens, the target's context is"),
        ({"text": TEXT, "positions": "40"}, "out of range"),
        ({"text": TEXT, "samples": 0}, "at least 1"),
    ],
)
def test_impossible_requests_are_refused(reader, arguments, message):
    with pytest.raises(legible.UsageError, match=message):
        reader.read(**arguments)


def test_flags_say_where_to_trust_less():
    encoded = Encoded([1, 5, 6, 7], [(0, 0), (0, 2), (2, 3), (3, 5)])
    flags = text_flags(encoded, ["<s>", "▁a", "<0xC3>", "▁b"], torch.tensor([1.0, 1.0, 9.0, 1.0]), 2)
    assert flags == [("special_token", "early_position"), ("early_position",), ("norm_outlier", "ood"), ("ood",)]


def test_json_is_one_object_a_token_and_nothing_else(legible, micro_run):
    done = legible("read", str(micro_run), TEXT, "--json")
    rows = [json.loads(line) for line in done.out.splitlines()]
    assert done.code == 0
    assert len(rows) == 9
    for row in rows:
        assert row.keys() >= KEYS
        assert all(claim.keys() >= CLAIM_KEYS for claim in row["claims"])
        assert all(claim["p_true"] is None or 0 < claim["p_true"] < 1 for claim in row["claims"])


def test_the_table_names_token_and_flags(legible, micro_run):
    done = legible("read", str(micro_run), TEXT, "--positions", "0,-2,-1")
    assert done.code == 0
    assert "desert" in done.out
    assert "early_position" in done.out


def test_the_html_report_holds_every_token(legible, micro_run, tmp_path):
    path = tmp_path / "deep" / "reading.html"
    done = legible("read", str(micro_run), TEXT, "--html", str(path))
    assert done.code == 0
    page = path.read_text(encoding="utf-8")
    assert all(f'id="t{pos}"' in page for pos in range(9))
    assert "<script" not in page


def test_what_a_model_writes_cannot_act_in_a_page(reader):
    from dataclasses import replace

    hostile = "<img src=x onerror=alert(1)>\x1b]0;title\x07\u202e"
    reading = replace(reader.read(TEXT, positions="-1")[0], explanation=hostile, token=hostile, claims=())
    page = reading_page(hostile, [reading], {"target": hostile})
    assert "<img" not in page
    assert not {"\x1b", "\x07", "\u202e"} & set(page)


def test_a_file_is_read_and_a_bad_position_refused(legible, micro_run, tmp_path):
    path = tmp_path / "text.txt"
    path.write_text(TEXT, encoding="utf-8")
    assert legible("read", str(micro_run), "--file", str(path), "--positions", "0", "--json").code == 0
    done = legible("read", str(micro_run), "--file", str(path), "--positions", "99")
    assert (done.code, done.out) == (2, "")
    assert "position 99 is out of range" in done.err
