"""Put a run's checkpoint into the package as the built-in pair: `python scripts/make_builtin.py RUN`.

Weights are rounded to float16 on disk, so the calibrator is fitted anew on what ships (a minute), and the figures of
the built-in pair are measured on what ships (`legible evaluate builtin`), not on the run.
"""

import argparse
import shutil
import tempfile
from pathlib import Path

import torch

from legible.config import CalibrateConfig, load_config
from legible.contract import TargetRecord
from legible.models.target import Target
from legible.recipes.calibrate import calibrate_folder, summary_lines
from legible.train.checkpoint import load_checkpoint, save_checkpoint

PACKAGE = Path(__file__).resolve().parents[1] / "src" / "legible" / "builtin"
MOST_BYTES = 12_000_000


def main() -> None:
    """Copy, round, calibrate, and say how large it is."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="directory of a finished `legible train tiny`")
    parser.add_argument("--out", type=Path, default=PACKAGE, help="where the pair goes")
    arguments = parser.parse_args()
    found = load_checkpoint(arguments.run)
    if found.reconstructor is None or found.contract.legible is None:
        raise SystemExit(f"{arguments.run} is no checkpoint of a whole run: it lacks a reconstructor or a contract")
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / "target"
        found.target.model.to(torch.float16).save_pretrained(folder)
        found.target.tokenizer.save_pretrained(folder)
        record = TargetRecord(id="target", sha256=Target.load(str(folder)).sha256())
        extra = found.contract.legible.model_copy(update={"target": record, "metrics": None})
        save_checkpoint(
            arguments.out,
            found.verbalizer,
            found.reconstructor,
            extra,
            target_dir=folder,
            lookup=found.lookup,
            dtype=torch.float16,
        )
    for leftover in arguments.out.rglob("generation_config.json"):
        leftover.unlink()
    settings = arguments.run / "config.json"
    config = load_config(settings).calibrate if settings.is_file() else CalibrateConfig()
    pair = calibrate_folder(load_checkpoint(arguments.out), str(arguments.out), config)
    print("\n".join(summary_lines(pair)))
    size = sum(path.stat().st_size for path in arguments.out.rglob("*") if path.is_file())
    print(f"{arguments.out}: {size / 1e6:.1f} MB")
    if size > MOST_BYTES:
        shutil.rmtree(arguments.out)
        raise SystemExit(f"{size} bytes, at most {MOST_BYTES} may ship")


if __name__ == "__main__":
    main()
