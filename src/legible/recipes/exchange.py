"""`legible export`: a store and its teacher's text as the Parquet dataset of other tools."""

from pathlib import Path
from typing import get_args

from legible.data.exchange import Stage, export_parquet
from legible.errors import UsageError
from legible.recipes.inputs import open_store
from legible.teachers.base import taught_texts


def export_store(store: Path, layer: int, out: Path, stage: str, teach_file: Path | None) -> int:
    """Write one layer of a store as a Parquet dataset; returns its rows.

    Raises:
        UsageError: no such stage, or a training stage without the teacher's file.
    """
    if stage not in get_args(Stage):
        raise UsageError(f"no dataset stage {stage!r}: expected {', '.join(get_args(Stage))}.")
    if stage in ("av_sft", "ar_sft") and teach_file is None:
        raise UsageError(f"the stage {stage} holds explanations: give the teacher's file with --teach.")
    texts = dict(taught_texts(teach_file)) if teach_file else None
    return export_parquet(open_store(store), layer, out, stage=stage, explanations=texts).row_count  # type: ignore[arg-type]
