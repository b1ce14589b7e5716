"""Put a run's checkpoint into the package as the built-in pair: `python scripts/make_builtin.py RUN`.

Weights are rounded to float16 on disk, so the calibrator is fitted anew on what ships (a minute), and the reports that
lie beside the pair (`evaluation.json`, `truth.json`) are measured on what ships, not on the run. Only the control
battery (`--controls`) is the run's: its controls were trained on the run's own captures.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from legible.config import CalibrateConfig, EvalConfig, TruthConfig, load_config
from legible.contract import LegibleExtra, TargetRecord
from legible.fileio import write_json
from legible.models.target import Target
from legible.reading.checkpoint import Checkpoint, save_checkpoint, store_metrics
from legible.reading.opening import load_checkpoint
from legible.recipes.calibrate import summary_lines
from legible.recipes.controls import evaluate_fully
from legible.recipes.record import figures
from legible.recipes.stages.calibrate import Calibrate
from legible.recipes.stages.measuring import Evaluate, Truth

NAME = "legible-world-tiny"  # of the target, in contracts and for clients of the server
PACKAGE = Path(__file__).resolve().parents[1] / "src" / "legible" / "builtin"
MOST_BYTES = 12_000_000


def main() -> None:
    """Copy, round, calibrate, measure, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a finished `legible train tiny`")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="where the pair goes")
    parser.add_argument("--controls", type=Path, help="the run's trained controls: add the control battery")
    arguments = parser.parse_args()
    found = load_checkpoint(arguments.run)
    if found.reconstructor is None or found.contract.legible is None:
        raise SystemExit(f"{arguments.run} is no checkpoint of a whole run: it lacks a reconstructor or a contract")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "target"
        found.target.model.to(torch.float16).save_pretrained(folder)
        found.target.tokenizer.save_pretrained(folder)
        for leftover in folder.rglob("generation_config.json"):
            leftover.unlink()
        record = TargetRecord(id=NAME, sha256=Target.load(str(folder)).sha256())
        extra = found.contract.legible.model_copy(update={"target": record, "metrics": {}})
        save(found, extra, arguments.out, folder)
        settings = arguments.run / "config.json"
        config = load_config(settings).calibrate if settings.is_file() else CalibrateConfig()
        print("\n".join(summary_lines(Calibrate(load_checkpoint(arguments.out), str(arguments.out), config).run())))
        shipped = load_checkpoint(arguments.out)
        reports = measure(shipped, arguments.run, arguments.controls)
        store_metrics(shipped, figures(reports["evaluation"]))
    for name, report in reports.items():
        write_json(arguments.out / f"{name}.json", report)
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        shutil.rmtree(arguments.out)
        raise SystemExit(f"{size} bytes, at most {MOST_BYTES} may ship")


def save(found: Checkpoint, extra: LegibleExtra, out: Path, target: Path) -> None:
    """The pair in float16; the calibrator of the run is none for the rounded pair."""
    assert found.reconstructor is not None
    save_checkpoint(
        out,
        found.verbalizer,
        found.reconstructor,
        extra,
        target_dir=target,
        lookup=found.lookup,
        probes=found.probes,
        dtype=torch.float16,
    )
    for leftover in out.rglob("generation_config.json"):
        leftover.unlink()


def measure(found: Checkpoint, run: Path, controls: Path | None) -> dict[str, dict[str, Any]]:
    """What `legible evaluate builtin` and `legible truth builtin` print; with controls, the run's battery too."""
    report = Evaluate(found, "builtin", EvalConfig()).run()
    if controls is not None:
        report["controls"] = evaluate_fully(load_checkpoint(run), str(run), EvalConfig(), folder=controls)["controls"]
        report["note"] = "The control table was measured before the weights were rounded to float16."
    return {"evaluation": report, "truth": Truth(found, "builtin", TruthConfig()).run()}


if __name__ == "__main__":
    main()
