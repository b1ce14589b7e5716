"""A whole run, its stages as verbs of their own, and what a run refuses."""

import filecmp
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from legible.recipes import resolve
from legible.recipes.run import STAGES, run
from micro import MICRO

REPORT_KEYS = {
    "fve", "context_fve", "floors", "references", "parse_failures", "mean_tokens", "world", "checkpoint",
    "seed", "commit",
}  # fmt: skip


def files_of(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def assert_equal_runs(one: Path, other: Path) -> None:
    """Every file but run.json is equal, byte for byte."""
    assert files_of(one) == files_of(other)
    names = [name for name in files_of(one) if name != "run.json"]
    _, differing, failed = filecmp.cmpfiles(one, other, names, shallow=False)
    assert (differing, failed) == ([], [])


def test_a_run_leaves_reports_curves_and_a_checkpoint(micro_run):
    report = json.loads((micro_run / "report.json").read_text())
    assert report.keys() >= REPORT_KEYS
    assert report["world"].keys() == {
        "precision", "context_precision", "context_claims_per_reading", "context_lift", "recall", "foresight",
    }  # fmt: skip
    assert report["target"]["lookup_fve"].keys() >= {"value", "low", "high", "n"}
    page = (micro_run / "report.html").read_text()
    assert page.count('class="curve"') >= 6
    assert (micro_run / "checkpoint" / "README.md").exists()
    assert {name for name, _ in STAGES} == {path.name for path in (micro_run / "done").iterdir()}


def test_a_finished_run_is_not_done_again(micro_run, capfd):
    before = {name: (micro_run / name).stat().st_mtime_ns for name in files_of(micro_run)}
    run(resolve("tiny", layer=1, settings=MICRO), micro_run)
    assert capfd.readouterr().err.count("done before") == len(STAGES)
    assert {name: (micro_run / name).stat().st_mtime_ns for name in files_of(micro_run)} == before


def test_training_ends_with_its_scores_and_their_intervals(legible, micro_run):
    settings = [f"--set={setting}" for setting in MICRO]
    lines = legible("train", "tiny", "--layer", "1", "--out", str(micro_run), *settings).out.splitlines()
    report = json.loads((micro_run / "report.json").read_text())
    figures = {line[:28].strip(): line[28:].split()[0] for line in lines[:4]}
    assert figures.keys() == {"FVE", "context FVE", "precision", "context precision"}
    assert figures["FVE"] == f"{report['fve']['value']:.2f}"
    assert "[" in lines[0]
    assert lines[-2].startswith(f"n {report['fve']['n']} rows of")
    assert lines[-1] == f"report: {micro_run / 'report.html'}"


def test_a_run_is_resumed_only_under_its_own_configuration(legible, micro_run):
    settings = [f"--set={setting}" for setting in (*MICRO, "rl.kl=0.5")]
    done = legible("train", "tiny", "--layer", "1", "--out", str(micro_run), *settings)
    assert done.code == 2
    assert "differs in rl.kl (0.02 there, 0.5 now)" in done.err


def test_a_run_killed_between_and_inside_stages_ends_like_an_unbroken_one(micro_run, tmp_path):
    """SIGKILL inside an SFT step and before a rename of the RL stage, then twice the same command."""
    broken = tmp_path / "broken"
    for fault in ("optimizer:20", "rename:72", ""):
        command = [sys.executable, "-m", "legible.cli.main", "train", "tiny", "--layer", "1", "--out", str(broken)]
        command += [f"--set={setting}" for setting in MICRO]
        done = subprocess.run(command, env={**os.environ, "LEGIBLE_FAULT": fault}, capture_output=True, text=True)
        assert done.returncode == (-signal.SIGKILL if fault else 0), done.stderr
    assert_equal_runs(micro_run, broken)


def test_the_stages_are_verbs_that_end_in_a_readable_checkpoint(legible, micro_run, tmp_path):
    at = lambda name: str(tmp_path / name)
    target = str(micro_run / "target")
    common = ("--layers", "1", "--min-pos", "12", "--threads", "1")
    assert legible("capture", target, "--out", at("train"), "--documents", "40", *common).code == 0
    dev = legible("capture", target, "--out", at("dev"), "--documents", "12", "--split", "dev", "--json", *common)
    assert json.loads(dev.out)["layers"] == [1]
    taught = legible("teach", at("train"), "--out", at("teach.jsonl"), "--threads", "1", "--json")
    assert json.loads(taught.out)["refused"] == 0
    sft = ("sft", target, at("train"), at("teach.jsonl"), "--layer", "1", "--out", at("sft"), "--steps", "4")
    assert legible(*sft, "--threads", "1").out.strip() == at("sft/checkpoint")
    assert legible("read", at("sft"), "Our hero Pavel.", "--positions", "-1").code == 0
    rl = ("rl", str(micro_run / "sft"), at("train"), at("dev"), "--out", at("rl"), "--steps", "1", "--max-tokens", "24")
    trained = legible(*rl, "--prompts", "4", "--group", "4", "--threads", "1", "--json")
    assert json.loads(trained.out)["best_step"] in (0, 1)
    read = legible("read", at("rl"), "Our hero Pavel.", "--positions", "-1", "--json")
    assert json.loads(read.out)["layer"] == 1
    assert legible("contract", "check", at("rl")).out.endswith("the contract holds\n")
    evaluated = legible(
        "evaluate", at("rl"), "--documents", "4", "--probe-rows", "200", "--foresight-rows", "0",
        "--max-tokens", "8", "--threads", "1", "--json", "--html", at("report.html"),
    )  # fmt: skip
    assert json.loads(evaluated.out).keys() >= REPORT_KEYS
    assert (tmp_path / "report.html").exists()


def test_a_store_goes_through_parquet_and_back(legible, micro_run, tmp_path):
    parquet, store = str(tmp_path / "data.parquet"), str(tmp_path / "store")
    dev = str(micro_run / "store" / "dev")
    assert legible("export", dev, parquet, "--layer", "1").code == 0
    back = legible("import", parquet, store, "--json")
    assert json.loads(back.out) == {"store": store, "rows": 16 * 6, "layers": [1]}
    assert legible("contract", "check", parquet).code == 0


def test_what_a_target_holds_is_reported(legible, micro_run):
    stores = [str(micro_run / "store" / split) for split in ("train", "dev")]
    done = legible("probe", str(micro_run / "target"), *stores, "--layer", "1", "--json", "--threads", "1")
    report = json.loads(done.out)
    assert report["facts_add"].keys() >= {"value", "low", "high"}
    assert report["loss"]["entropy_per_token"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("capture", "{target}", "--layers", "9", "--out", "{tmp}/s"), "layer 9"),
        (("capture", "{target}", "--layers", "1", "--corpus", "{tmp}/none.txt", "--out", "{tmp}/s"), "no corpus at"),
        (("capture", "{target}", "--layers", "1", "--corpus", "{tmp}/empty.txt", "--out", "{tmp}/s"), "holds no text"),
        (("capture", "{target}", "--layers", "1", "--corpus", "{tmp}/latin.txt", "--out", "{tmp}/s"), "is not UTF-8"),
        (("sft", "{target}", "{dev}", "{tmp}/none.jsonl", "--layer", "1", "--out", "{tmp}/r"), "no teacher's text"),
        (("sft", "{target}", "{tmp}/none", "{tmp}/none.jsonl", "--layer", "1", "--out", "{tmp}/r"), "none"),
        (("train", "tiny", "--layer", "9", "--out", "{tmp}/r"), "layer 9 is out of range"),
        (("pretrain", "--bag-layer", "9", "--out", "{tmp}/t"), "bag_layer 9 is out of range"),
        (("export", "{tmp}/none", "{tmp}/d.parquet", "--layer", "1"), "no store at"),
        (("read", "{run}", "the fox " * 300), "601 tokens"),
        (("capture", "{tmp}/no-model", "--layers", "1", "--out", "{tmp}/s"), "no-model"),
        (("capture", "{target}", "--split", "tset", "--out", "{tmp}/s"), "--split is 'tset'"),
        (("teach", "{dev}", "--teacher", "nobody", "--out", "{tmp}/t"), "unknown teacher 'nobody'"),
        (("teach", "{dev}", "--limit", "probes", "--out", "{tmp}/t"), "--layer"),
        (("export", "{dev}", "{tmp}/d.parquet", "--layer", "3"), "layers [1]"),
        (("export", "{dev}", "{tmp}/d.parquet", "--layer", "1", "--stage", "sft"), "no dataset stage 'sft'"),
    ],
)
def test_bad_input_is_refused_with_one_clear_message(legible, micro_run, tmp_path, arguments, message):
    (tmp_path / "empty.txt").write_text("\n\n")
    (tmp_path / "latin.txt").write_bytes("Überall".encode("latin-1"))
    places = {"run": micro_run, "target": micro_run / "target", "dev": micro_run / "store" / "dev", "tmp": tmp_path}
    done = legible(*(argument.format(**places) for argument in arguments))
    assert (done.code, done.out) == (2, ""), done
    assert message in done.err
    assert "Traceback" not in done.err


def test_pickle_weights_are_refused(legible, micro_run, tmp_path):
    folder = tmp_path / "pickled"
    shutil.copytree(micro_run / "target", folder)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    done = legible("capture", str(folder), "--layers", "1", "--out", str(tmp_path / "s"))
    assert done.code == 2
    assert "safetensors" in done.err


def test_a_contract_of_another_model_is_refused(legible, micro_run, tmp_path):
    shutil.copytree(micro_run / "checkpoint", tmp_path / "c")
    sidecar = tmp_path / "c" / "av" / "nla_meta.yaml"
    sidecar.write_text(sidecar.read_text().replace("d_model: 32", "d_model: 48"))
    done = legible("read", str(tmp_path / "c"), "Our hero.")
    assert (done.code, done.out) == (2, "")
    assert legible("contract", "check", str(tmp_path / "c")).code == 1
