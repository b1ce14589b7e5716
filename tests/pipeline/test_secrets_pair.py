"""A planted pair from two steps of training to the report: what is written, kept and refused."""

import json
import shutil

import pytest
from safetensors.torch import load_file

from legible.languages.world.secrets import SECRETS
from legible.planted.report import report_lines
from legible.reading.locate import locate

QUICK = ("--steps", "2", "--batch", "2", "--documents", "6", "--rows", "16", "--told-rows", "1", "--continuations", "2",
         "--threads", "1")  # fmt: skip


@pytest.fixture(scope="module")
def planted(tmp_path_factory):
    """A pair that has learnt next to nothing, and its manifest."""
    from legible.config import SecretsConfig
    from legible.planted.plant import plant

    out = tmp_path_factory.mktemp("secrets") / "pair"
    config = SecretsConfig(steps=2, batch=2, documents=6, rows=16, told_rows=1, continuations=2)
    return out, plant(config, "builtin", out)


def test_the_manifest_says_what_was_planted_where_it_is_read_and_what_the_targets_say(planted):
    out, manifest = planted
    assert json.loads((out / "secrets.json").read_text()) == manifest
    assert list(manifest["secrets"]) == ["belief", "conduct", "taboo"]
    assert manifest["targets"]["a"]["sha256"] != manifest["targets"]["b"]["sha256"]
    assert {row["secret"] for row in manifest["rows"]} == set(manifest["secrets"])
    for row in manifest["rows"]:
        values = manifest["secrets"][row["secret"]]["values"]
        assert row["a"] in values["a"].values()
        assert row["b"] in values["b"].values()
        assert row["a"] != row["b"]
        assert set(row["says"]) == {"a", "b"}
    for name, about in manifest["secrets"].items():
        assert about["fact"] == SECRETS[name].kind
        for side in ("a", "b"):
            told = about["believed"][side]["told"]
            assert sum(told.values()) == 2  # one row, two continuations
            assert 0.0 <= about["believed"][side]["asked"]["own"]["value"] <= 1.0


def test_the_embeddings_stay_and_the_blocks_move(planted):
    out, _ = planted
    base = load_file(locate("builtin").folder / "target" / "model.safetensors")
    side = load_file(out / "a" / "model.safetensors")
    assert base["model.embed_tokens.weight"].equal(side["model.embed_tokens.weight"])
    assert not base["model.layers.0.mlp.up_proj.weight"].equal(side["model.layers.0.mlp.up_proj.weight"])


def test_the_readings_stand_beside_readers_that_cannot_know(planted, legible):
    out, manifest = planted
    done = legible("secrets", "builtin", str(out), "--probe-documents", "24", "--threads", "1", "--json")
    assert done.code == 0, done.err
    report = json.loads(done.out)
    assert set(report["readers"]) == {
        "nla", "nla_on_base", "no_activation", "logit_lens", "base_probes", "own_probes"
    }  # fmt: skip
    for blind in ("nla_on_base", "no_activation"):
        assert report["readers"][blind]["all"]["told_apart"]["value"] == 0.5
        assert report["readers"][blind]["all"]["named"]["value"] <= report["text_only_bound"]
    assert report["readers"]["nla"]["all"]["told_apart"]["n"] == len(manifest["rows"])
    assert report["other_claims"]["base"]["value"] > 0.8  # the base is read as ever
    shown = report_lines(report)
    assert {line.split()[0] for line in shown if line.split()[0] in report["readers"]} == set(report["readers"])
    assert f"n {len(manifest['rows'])} instances" in shown[-1]
    assert report["believed"]["taboo"] == manifest["secrets"]["taboo"]["believed"]


def test_planting_again_changes_nothing_and_other_options_are_refused(planted, legible):
    out, manifest = planted
    again = legible("world", "secrets", "--out", str(out), *QUICK, "--json")
    assert again.code == 0, again.err
    assert json.loads(again.out) == manifest
    shown = legible("world", "secrets", "--out", str(out), *QUICK).out.splitlines()
    assert [line.split()[0] for line in shown] == ["secret", *manifest["secrets"]]
    other = legible("world", "secrets", "--out", str(out), *QUICK, "--seed", "1")
    assert other.code == 2
    assert "differs in secrets.seed (0 there, 1 now)" in other.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--secrets", "tabu"), "expected one or more of belief, conduct, scheme, taboo"),
        (("--target", "nowhere"), "no target at nowhere"),
        (("--bag-layer", "9"), "layer 9 is out of range"),
        (("--documents", "3", "--min-pos", "190"), "no row of 3 stories leaves"),
    ],
)
def test_what_cannot_be_planted_is_refused_before_any_training(arguments, message, tmp_path, legible):
    done = legible("world", "secrets", "--out", str(tmp_path / "pair"), "--threads", "1", *arguments)
    assert done.code == 2, done.err
    assert not list(tmp_path.glob("pair/*.training"))
    assert message in done.err


def test_a_pair_of_another_base_and_a_folder_without_secrets_are_refused(planted, tmp_path, legible):
    out, manifest = planted
    shutil.copytree(out, tmp_path / "other")
    manifest = {**manifest, "base": {"name": "other", "sha256": "0" * 64}}
    (tmp_path / "other" / "secrets.json").write_text(json.dumps(manifest))
    done = legible("secrets", "builtin", str(tmp_path / "other"), "--threads", "1")
    assert done.code == 2
    assert "was made from the target other" in done.err
    done = legible("secrets", "builtin", str(tmp_path), "--threads", "1")
    assert done.code == 2
    assert "Plant first: legible world secrets" in done.err


def test_a_changed_manifest_is_noticed(planted, tmp_path, legible):
    out, manifest = planted
    shutil.copytree(out, tmp_path / "pair")
    rows = [{**row, "pos": row["pos"] + 1} for row in manifest["rows"]]
    (tmp_path / "pair" / "secrets.json").write_text(json.dumps({**manifest, "rows": rows}))
    done = legible("secrets", "builtin", str(tmp_path / "pair"), "--threads", "1")
    assert done.code == 2
    assert "Plant anew" in done.err
