"""What a limited teacher may say of every row of a store, worked out once and kept beside its text."""

import json
from pathlib import Path

from legible.config import AUTO, Placement, TeachConfig
from legible.data.store import Store
from legible.errors import UsageError
from legible.fileio import write_json
from legible.models.reconstructor import Reconstructor
from legible.progress import line_progress
from legible.reading.opening import load_checkpoint
from legible.teachers.base import Teacher
from legible.teachers.language import LanguageTeacher
from legible.teachers.leverage import keep_from_leverage

CHUNK = 1024  # rows a file: what a kill costs at most


def limiting_reconstructor(
    store: Store, layer: int | None, config: TeachConfig, place: Placement = AUTO
) -> Reconstructor:
    """The reconstructor of `config.limit_by`, checked to read what is taught.

    Raises:
        UsageError: no layer, no checkpoint, or one that reads something else.
    """
    if layer is None or config.limit_by is None:
        raise _lacking()
    found = load_checkpoint(config.limit_by, place=place)
    reconstructor = found.reconstructor
    if reconstructor is None or found.layer != layer or found.target.d_model != store.d_model:
        raise UsageError(
            f"{config.limit_by} reads layer {found.layer} of a target of width {found.target.d_model}"
            f"{'' if reconstructor else ' and has no reconstructor'}; "
            f"the rows are layer {layer}, width {store.d_model}.\n"
            "  Give --limit-by a pair that was trained on this target and layer."
        )
    return reconstructor


def keep_by_leverage(
    store: Store, teacher: Teacher, reconstructor: Reconstructor, config: TeachConfig, parts: Path
) -> list[set[str]]:
    """The kinds that stay in the text of each row, by what deleting their claims costs a reconstructor.

    Args:
        store: the rows, of the layer that the reconstructor returns.
        teacher: a language's.
        reconstructor: see `limiting_reconstructor`.
        config: `least_leverage`.
        parts: folder of the finished chunks of exactly these inputs; unfinished work resumes from them.

    Raises:
        UsageError: another teacher.
    """
    if not isinstance(teacher, LanguageTeacher):
        raise _lacking()
    layer = reconstructor.layer
    parts.mkdir(parents=True, exist_ok=True)
    shown = line_progress("leverage", len(store))
    keep: list[set[str]] = []
    for start in range(0, len(store), CHUNK):
        chunk = range(start, min(start + CHUNK, len(store)))
        part = parts / f"{start}.json"
        if not part.exists():
            rows, vectors = list(store.rows(chunk)), store.vectors(chunk, layer)
            kinds = keep_from_leverage(reconstructor, vectors, rows, teacher, least=config.least_leverage)
            write_json(part, [sorted(row) for row in kinds])
        keep += [set(row) for row in json.loads(part.read_text(encoding="utf-8"))]
        shown(len(keep), len(store))
    return keep


def _lacking() -> UsageError:
    return UsageError(
        "a teacher limited by leverage needs claims that can be deleted one by one, a layer and a reconstructor.\n"
        "  Give --teacher world or text, --layer, and --limit-by CHECKPOINT of an earlier run on this target."
    )
