"""`legible evaluate --instruments`: every row on the same rows, kept, measured again only where something changed."""

import json
from pathlib import Path

import pytest

from legible.evaluate.rivals.court import CARRIED, Court
from legible.instruments import INSTRUMENTS
from legible.instruments.k_shot import K

SMALL = (
    "--documents", "18", "--positions-per-doc", "2", "--probe-rows", "160", "--max-tokens", "24", "--threads", "1",
)  # fmt: skip
NAMES = ("pair", "no-activation", "other-activation", *INSTRUMENTS)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("instruments")


def test_all_instruments_stand_in_one_table(legible, micro_run, kept):
    command = ("evaluate", str(micro_run), "--instruments", "all", "--controls", str(kept), *SMALL)
    done = legible(*command, "--json", "--html", str(kept / "rivals.html"))
    assert done.code == 0, done.err
    report = json.loads(done.out)
    rows = {row["name"]: row for row in report["instruments"]}
    assert tuple(rows) == NAMES
    assert len(rows) >= 10
    assert {name: row["note"] for name, row in rows.items() if row["note"]} == {}
    for name, row in rows.items():
        assert list(row["families"]) == ["now", "context"]
        assert row["cpu_s_per_token"] > 0
        assert (row["fve"] is None) == (row["reconstructed_by"] is None)
        if row["reconstructed_by"] is not None:
            assert all(row[key] is not None for key in CARRIED), name
    for name in ("probes", "nearest-neighbours", "token-lookup"):
        assert rows[name]["reconstructed_by"] == "itself"
        assert rows[name]["labels"] == report["probe_rows"] > 0
    assert rows["reading-vectors"]["labels"] == report["probe_rows"]
    assert rows["asked"]["labels"] == rows["asked"]["texts"] == 0 < rows["k-shot"]["labels"] <= K
    assert all("it sees no activation" in rows[name]["what"] for name in ("asked", "k-shot"))
    assert rows["tuned-lens"]["labels"] == 0 < rows["tuned-lens"]["texts"]
    assert rows["logit-lens"]["families"]["context"]["ece"] is None
    page = (kept / "rivals.html").read_text(encoding="utf-8")
    assert all(name in page for name in NAMES)
    plain = legible(*command)
    assert plain.code == 0
    assert "instrument: " not in plain.err
    assert "at equal recall" in plain.out


def test_after_a_kill_only_the_rest_is_measured(legible, micro_run, tmp_path, monkeypatch):
    measured, asked = Court.measured, []

    def once_then_killed(self, offer, setting, pair):
        asked.append(offer.name)
        if len(asked) == 2:
            raise KeyboardInterrupt
        return measured(self, offer, setting, pair)

    monkeypatch.setattr(Court, "measured", once_then_killed)
    command = ("evaluate", str(micro_run), "--instruments", "logit-lens", "--controls", str(tmp_path), *SMALL, "--json")
    assert legible(*command).code == 130
    done = legible(*command)
    assert done.code == 0, done.err
    assert asked == ["pair", "logit-lens", "logit-lens"]
    assert [row["name"] for row in json.loads(done.out)["instruments"]] == ["pair", "logit-lens"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--instruments", "lens"), "no instrument 'lens': expected all, or some of pair"),
        (("--instruments", "all", "--full"), "--full and --instruments are two reports"),
        (("--weights", "tuned-lens=x"), "Add --instruments NAME"),
        (("--instruments", "tuned-lens", "--weights", "tuned-lens=missing"), "no file missing"),
    ],
)
def test_options_that_do_not_fit_are_refused(legible, micro_run, arguments, message):
    done = legible("evaluate", str(micro_run), *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
