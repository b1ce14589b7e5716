"""What may differ between two equal runs: wall times, CPU times, machine. All of it lives in run.json alone."""

import json
import os
import platform
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from legible.config import AUTO, Placement
from legible.fileio import write_json
from legible.models.placement import device_of


class RunRecord:
    """run.json: seconds of every stage, summed over interruptions (a SIGKILL loses its session), and the machine."""

    def __init__(self, path: Path, place: Placement = AUTO) -> None:
        self.path = path
        self.value: dict[str, Any] = {"machine": {}, "stages": {}, "started": _now()}
        if path.exists():
            self.value = json.loads(path.read_text(encoding="utf-8"))
        self.value["machine"] = machine()
        self.value["placement"] = {**place.model_dump(), "device": str(device_of(place))}

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Add the wall and CPU seconds of the block to the stage, however the block ends."""
        wall, cpu = time.monotonic(), _cpu()
        entry = self.value["stages"].setdefault(name, {"wall_s": 0.0, "cpu_s": 0.0, "sessions": 0})
        try:
            yield
        finally:
            entry["wall_s"] = round(entry["wall_s"] + time.monotonic() - wall, 2)
            entry["cpu_s"] = round(entry["cpu_s"] + _cpu() - cpu, 2)
            entry["sessions"] += 1
            self.value["ended"] = _now()
            stages = self.value["stages"].values()
            self.value["wall_s"] = round(sum(stage["wall_s"] for stage in stages), 2)
            self.value["cpu_s"] = round(sum(stage["cpu_s"] for stage in stages), 2)
            write_json(self.path, self.value)


def figures(evaluation: dict[str, Any]) -> dict[str, Any]:
    """The figures that the model card shows, each with n and interval."""
    claims = evaluation["claims"] or {}
    names = ("context_precision", "context_claims_per_reading", "context_lift", "recall", "foresight")
    return {
        "fve": evaluation["fve"],
        "context_fve": evaluation["context_fve"],
        "matched_minus_mismatched": evaluation["matched_minus_mismatched"],
        "kl_recovered": evaluation["kl_recovered"],
        **{name: claims[name] for name in names if claims.get(name) is not None},
        "evaluation_seed": evaluation["seed"],
    }


def machine() -> dict[str, Any]:
    """The hardware and the versions that a number was made with."""
    import torch
    import transformers

    return {
        "system": f"{platform.system()} {platform.machine()}",
        "processor": _processor(),
        "cores": os.cpu_count(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "transformers": transformers.__version__,
        "threads": torch.get_num_threads(),
    }


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor()


def _cpu() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")
