"""Every part runs on a device that is not the processor, with the processor's answers: nothing was left behind."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

SCRIPT = Path(__file__).with_name("on_second_device.py")
PARTS = ("capturing", "pretraining", "warm_start", "joint", "preference", "reading", "instruments", "steering")


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, dict[str, Any]]:
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path_factory.mktemp("devices"))], capture_output=True, text=True
    )
    assert done.returncode == 0, "\n".join(line for line in done.stderr.splitlines() if "registered at" not in line)
    rows = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    return {row["part"]: row for row in rows}


@pytest.mark.parametrize("part", PARTS)
def test_a_part_answers_the_same_on_another_device(answers: dict[str, dict[str, Any]], part: str) -> None:
    there, here = (flat(answers[part][where]) for where in ("there", "here"))
    assert words(there) == words(here)
    assert numbers(there) == pytest.approx(numbers(here), rel=1e-2, abs=1e-3)  # tens of steps apart in the last bits


def test_the_device_refuses_what_was_left_behind() -> None:
    code = (
        "import torch\nfrom second_device import second_device\n"
        "with second_device() as there:\n"
        "    weight = torch.ones(2, 2, device=there)\n"
        "    assert (weight @ torch.ones(2, 2, device=weight.device)).device == there\n"
        "    torch.ones(2, 2) @ weight\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=SCRIPT.parent)
    assert done.returncode == 1
    assert "tensors of both devices" in done.stderr


def words(found: dict[str, Any]) -> dict[str, Any]:
    return {path: one for path, one in found.items() if not isinstance(one, float)}


def numbers(found: dict[str, Any]) -> dict[str, float]:
    return {path: one for path, one in found.items() if isinstance(one, float)}


def flat(value: Any) -> dict[str, Any]:
    """Numbers and texts by their path."""
    if isinstance(value, dict):
        return {f"{key}.{inner}": one for key, part in value.items() for inner, one in flat(part).items()}
    if isinstance(value, list):
        return {f"{i}.{inner}": one for i, part in enumerate(value) for inner, one in flat(part).items()}
    return {"": value}
