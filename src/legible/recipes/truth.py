"""`legible truth`: draw held-out documents for a checkpoint and measure the truth of its readings."""

import os
import sys
from pathlib import Path
from typing import Any

from legible.config import TruthConfig
from legible.evaluate.truth_report import truth_report
from legible.progress import line_progress
from legible.reading.checkpoint import Checkpoint
from legible.recipes.standalone import held_out_documents
from legible.teachers.judge import make_judge


def truth(
    checkpoint: Checkpoint,
    name: str,
    config: TruthConfig,
    *,
    corpus: str | None = None,
    judge: str | None = None,
    judge_cache: Path | None = None,
) -> dict[str, Any]:
    """The truth report of a checkpoint; see `legible.evaluate.truth_report`.

    Args:
        checkpoint: what is measured.
        name: what the report calls it.
        config: how much, and the seed that draws the documents.
        corpus: where they come from; absent: the world for the world's, the contract's corpus for others.
        judge: gives the verdicts, by its name (`legible.teachers.judge.make_judge`).
        judge_cache: file of its answers; absent: one for all checkpoints in the user's cache folder.

    Raises:
        UsageError: a checkpoint of a corpus that is not there and no `corpus` given, or no such judge.
        TeacherError: the judge failed for good; run again, its answers so far are kept.
    """
    capture, documents, pool = held_out_documents(checkpoint, name, config, corpus)
    asked = make_judge(judge, cache=judge_cache or default_cache()) if judge is not None else None
    try:
        return truth_report(
            checkpoint,
            name=name,
            config=config,
            capture=capture,
            documents=documents,
            pool=pool,
            judge=asked,
            progress=lambda stage: print(f"truth: {stage}", file=sys.stderr, flush=True),
            judging=line_progress("judge"),
        )
    finally:
        if asked is not None:
            asked.close()


def default_cache() -> Path:
    """Where a judge's answers are kept unless another file is named."""
    home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return home / "legible" / "judge.sqlite"
