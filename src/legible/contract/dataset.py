"""Checks of a dataset's Parquet file against its sidecar."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

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
    wanted = [*COLUMNS, *STAGE_COLUMNS[contract.stage]]
    seen: set[str] = set()
    for batch in file.iter_batches(batch_size=READ_AT_ONCE, columns=wanted):
        for problem in _check_rows(batch, contract):
            if problem.expected not in seen:  # one report a kind of problem, not one a batch
                seen.add(problem.expected)
                yield problem


def _check_rows(batch: pa.RecordBatch, contract: DatasetContract) -> Iterator[Problem]:
    width, layer = contract.extraction.d_model, contract.extraction.layer_index
    vectors = batch.column("activation_vector")
    kind = vectors.type
    widths = {kind.list_size} if pa.types.is_fixed_size_list(kind) else set(vectors.value_lengths().to_pylist())
    if vectors.null_count or widths - {width}:
        yield Problem(f"activation vectors of width {sorted(map(str, widths))}", f"d_model {width}", EXPORT_AGAIN)
    layers = set(batch.column("activation_layer").to_pylist())
    if layers != {layer}:
        yield Problem(f"activation_layer holds {sorted(map(str, layers))}", f"layer_index {layer} only", EXPORT_AGAIN)
    if contract.stage in ("av_sft", "rl"):
        bad = sum(not _one_place(prompt) for prompt in batch.column("prompt").to_pylist())
        if bad:
            yield Problem(f"{bad} prompts without one {PLACEHOLDER}", f"{PLACEHOLDER} once in each", EXPORT_AGAIN)
    if contract.stage == "ar_sft" and not all(isinstance(text, str) for text in batch.column("prompt").to_pylist()):
        yield Problem("prompts that are not text", "a string in each row of ar_sft", EXPORT_AGAIN)
    if contract.stage == "av_sft":
        responses = batch.column("response").to_pylist()
        bad = sum(not (r and "<explanation>" in r and "</explanation>" in r) for r in responses)
        if bad:
            yield Problem(f"{bad} responses without both tags", "<explanation> ... </explanation>", EXPORT_AGAIN)


def _one_place(prompt: Any) -> bool:
    return isinstance(prompt, list) and sum(turn["content"].count(PLACEHOLDER) for turn in prompt) == 1
