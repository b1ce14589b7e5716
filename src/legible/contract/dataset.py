"""Checks of a dataset's Parquet file against its sidecar."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from legible.contract.files import SIDECAR
from legible.contract.problem import Problem
from legible.contract.schema import DatasetContract

COLUMNS = ("activation_vector", "n_raw_tokens", "activation_layer", "doc_id")
STAGE_COLUMNS = {"base": (), "av_sft": ("prompt", "response"), "ar_sft": ("prompt",), "rl": ("prompt",)}
PLACEHOLDER = "<INJECT>"
READ_AT_ONCE = 1024
EXPORT_AGAIN = "Export that stage again."


def check_dataset(path: Path, contract: DatasetContract) -> Iterator[Problem]:
    """Row count, columns, widths, layers and prompts of the whole file, read in pieces.

    Args:
        path: the Parquet file or its sidecar.
        contract: the sidecar's content.
    """
    data = path if path.suffix == ".parquet" else path.with_name(path.name.removesuffix(f".{SIDECAR}"))
    if not data.is_file():
        yield Problem(f"{data} is missing", "the Parquet file of this sidecar", "Copy both files.")
        return
    try:
        file = pq.ParquetFile(data)
    except pa.ArrowInvalid as error:
        yield Problem(f"{data} is not a whole Parquet file ({error})", "one", "Copy or export it again.")
        return
    if file.metadata.num_rows != contract.row_count:
        yield Problem(f"{data.name} has {file.metadata.num_rows} rows", f"row_count {contract.row_count}", EXPORT_AGAIN)
    names = set(file.schema_arrow.names)
    missing = [name for name in (*COLUMNS, *STAGE_COLUMNS[contract.stage]) if name not in names]
    if missing:
        yield Problem(f"columns {missing} are missing", f"those of stage {contract.stage}", EXPORT_AGAIN)
        return
    if wrong := list(_check_types(file.schema_arrow, contract.stage)):
        yield from wrong
        return
    first = 0
    seen: set[str] = set()
    for batch in file.iter_batches(batch_size=READ_AT_ONCE, columns=[*COLUMNS, *STAGE_COLUMNS[contract.stage]]):
        for problem in _check_rows(batch, contract, first):
            if problem.expected not in seen:  # one report per kind of problem, not one per batch
                seen.add(problem.expected)
                yield problem
        first += len(batch)


def _check_types(schema: pa.Schema, stage: str) -> Iterator[Problem]:
    texts = ("detokenized_text_truncated", "api_explanation", "response", *(("prompt",) if stage == "ar_sft" else ()))
    kinds: dict[str, tuple[Callable[[pa.DataType], bool], str]] = {
        "activation_vector": (lambda kind: _is_list(kind) and _is_number(kind.value_type), "lists of numbers"),
        "n_raw_tokens": (_is_number, "whole numbers in n_raw_tokens"),
        "activation_layer": (_is_number, "whole numbers in activation_layer"),
        "doc_id": (lambda kind: _is_text(kind) or pa.types.is_integer(kind), "text or whole numbers"),
        **{name: (_is_text, f"text in {name}") for name in texts},
    }
    for name, (fits, expected) in kinds.items():
        if name in schema.names and not fits(schema.field(name).type):
            mend = "The usual cause is a table written through another format. Convert the column."
            yield Problem(f"column {name} holds {schema.field(name).type}", expected, mend)


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind))


def _is_text(kind: pa.DataType) -> bool:
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_null(kind))


def _check_rows(batch: pa.RecordBatch, contract: DatasetContract, first: int) -> Iterator[Problem]:
    """What is wrong in the rows of a batch that begins at row `first` of the file, each with its first row."""
    layer = contract.extraction.layer_index
    yield from _check_vectors(batch.column("activation_vector"), contract.extraction.d_model, first)
    layers = batch.column("activation_layer").to_pylist()
    if (row := _first(layers, lambda found: found != layer)) is not None:
        found = sorted(map(str, set(layers)))
        yield Problem(f"row {first + row}: activation_layer holds {found}", f"layer_index {layer} only", EXPORT_AGAIN)
    counts = batch.column("n_raw_tokens").to_pylist()
    if (row := _first(counts, lambda count: not (count is not None and count >= 1 and count % 1 == 0))) is not None:
        what = f"row {first + row}: n_raw_tokens is {counts[row]}"
        yield Problem(what, "the number of tokens up to the activation, 1 or more", EXPORT_AGAIN)
    names = batch.column("doc_id").to_pylist()
    if (row := _first(names, lambda name: name is None)) is not None:
        yield Problem(f"row {first + row}: doc_id is null", "a document's id: intervals are by document", EXPORT_AGAIN)
    if contract.stage in ("av_sft", "rl"):
        prompts = batch.column("prompt").to_pylist()
        if (row := _first(prompts, lambda prompt: not _one_place(prompt))) is not None:
            bad = sum(not _one_place(prompt) for prompt in prompts)
            what = f"row {first + row}: {bad} prompts without one {PLACEHOLDER}"
            yield Problem(what, f"{PLACEHOLDER} once in each", EXPORT_AGAIN)
    if contract.stage == "ar_sft" and (row := _first(batch.column("prompt").to_pylist(), _no_text)) is not None:
        yield Problem(f"row {first + row}: prompts that are not text", "a string in each row of ar_sft", EXPORT_AGAIN)
    if contract.stage == "av_sft":
        responses = batch.column("response").to_pylist()
        untagged = [not (r and "<explanation>" in r and "</explanation>" in r) for r in responses]
        if any(untagged):
            what = f"row {first + untagged.index(True)}: {sum(untagged)} responses without both tags"
            yield Problem(what, "<explanation> ... </explanation>", EXPORT_AGAIN)


def _check_vectors(vectors: pa.Array, width: int, first: int) -> Iterator[Problem]:
    fixed = pa.types.is_fixed_size_list(vectors.type)
    widths = (
        [vectors.type.list_size if one else None for one in vectors.is_valid().to_pylist()]
        if fixed
        else (vectors.value_lengths().to_pylist())
    )
    if (row := _first(widths, lambda found: found != width)) is not None:
        what = f"row {first + row}: activation vectors of width {sorted(map(str, set(widths)))}"
        yield Problem(what, f"d_model {width}", EXPORT_AGAIN)
        return
    with np.errstate(over="ignore"):
        values = vectors.flatten().to_numpy(zero_copy_only=False).astype(np.float32).reshape(len(vectors), width)
    for what, bad in (
        ("a null, NaN or infinite value", ~np.isfinite(values).all(axis=1)),
        ("only zeros, which have no direction", ~values.any(axis=1)),
    ):
        if bad.any():
            what = f"row {first + int(bad.argmax())}: activation_vector holds {what}"
            yield Problem(
                what, "finite numbers that float32 can hold" if "null" in what else "a direction", EXPORT_AGAIN
            )


def _first(values: Sequence[Any], wrong: Callable[[Any], bool]) -> int | None:
    return next((row for row, value in enumerate(values) if wrong(value)), None)


def _no_text(value: Any) -> bool:
    return not isinstance(value, str)


def _one_place(prompt: Any) -> bool:
    if not isinstance(prompt, list) or not all(isinstance(turn, dict) for turn in prompt):
        return False
    said = [turn.get("content") for turn in prompt]
    return all(isinstance(text, str) for text in said) and sum(text.count(PLACEHOLDER) for text in said) == 1
