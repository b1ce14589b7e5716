"""Training curves as the points of inline SVG lines; no plotting library, no script."""

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT = 320, 150
LEFT, RIGHT, TOP, BOTTOM = 44, 8, 10, 22
MOST_POINTS = 160

WANTED: tuple[tuple[str, str, str, Mapping[str, str]], ...] = (
    ("Target: next-token loss (nats)", "target.training/metrics.jsonl", "loss", {}),
    ("Target: future-bag loss (nats)", "target.training/metrics.jsonl", "bag_loss", {}),
    ("SFT: verbalizer loss (nats per token)", "sft/metrics.jsonl", "loss", {"role": "av"}),
    ("SFT: reconstructor direction_mse", "sft/metrics.jsonl", "loss", {"role": "ar"}),
    ("RL: reward", "rl/metrics.jsonl", "reward", {}),
    ("RL: direction_mse of rollouts", "rl/metrics.jsonl", "direction_mse", {}),
    ("RL: tokens per explanation", "rl/metrics.jsonl", "tokens", {}),
    ("RL: KL to the warm start (nats per token)", "rl/metrics.jsonl", "kl", {}),
    ("Held out: context FVE", "rl/metrics.jsonl", "dev_context_fve", {}),
    ("Held out: context precision", "rl/metrics.jsonl", "dev_context_precision", {}),
)


@dataclass(frozen=True)
class Curve:
    """One line of a plot, in SVG coordinates, and the ends of its axes."""

    title: str
    points: str
    low: float
    high: float
    first: int
    last: int
    end: float
    count: int


def training_curves(run: Path) -> list[Curve]:
    """The curves of a run's directory; stages that did not happen have none."""
    curves = []
    for title, file, key, tags in WANTED:
        series = read_series(run / file, key, tags)
        if len(series) > 1:
            curves.append(curve(title, series))
    return curves


def read_series(path: Path, key: str, tags: Mapping[str, str]) -> list[tuple[int, float]]:
    """(step, value) of one metric of a metrics.jsonl; lines without it are passed over."""
    if not path.exists():
        return []
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line]
    return [
        (row["step"], row[key])
        for row in rows
        if row.get(key) is not None and all(row.get(name) == value for name, value in tags.items())
    ]


def curve(title: str, series: Sequence[tuple[int, float]]) -> Curve:
    """A line through the series; neighbouring steps are averaged where there are many."""
    size = math.ceil(len(series) / MOST_POINTS)
    bins = [series[start : start + size] for start in range(0, len(series), size)]
    points = [(sum(s for s, _ in part) / len(part), sum(v for _, v in part) / len(part)) for part in bins]
    low, high = min(v for _, v in points), max(v for _, v in points)
    first, last = series[0][0], series[-1][0]
    across, up = max(1, last - first), (high - low) or 1.0
    drawn = " ".join(
        f"{LEFT + (WIDTH - LEFT - RIGHT) * (step - first) / across:.1f},"
        f"{HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (value - low) / up:.1f}"
        for step, value in points
    )
    return Curve(title, drawn, low, high, first, last, points[-1][1], len(points))
