"""The script for a card runs on any machine with a small shape, so that only the hardware is unproven."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "gpu" / "run.py"


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, str(SCRIPT), *arguments], capture_output=True, text=True)


def test_every_part_runs_on_the_processor_and_leaves_its_record(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "gpu"), "--shape", "tiny", "--device", "cpu")
    assert done.returncode == 0, done.stderr
    result = json.loads(done.stdout.splitlines()[-1])
    assert result == json.loads((tmp_path / "gpu" / "result.json").read_text(encoding="utf-8"))
    assert (result["kind"], result["device"], result["precision"]) == ("legible_gpu", "cpu", "float32")
    assert list(result["parts"]) == ["capture", "warm_start", "joint", "reading"]
    assert all(part["tokens"] > 0 and part["tokens_per_s"] > 0 for part in result["parts"].values())


def test_the_large_shape_asks_for_a_card(tmp_path: Path) -> None:
    done = run("--out", str(tmp_path / "gpu"), "--device", "cpu")
    assert done.returncode == 2
    assert "--shape tiny" in done.stderr
