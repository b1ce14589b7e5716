"""Parquet datasets shared with other NLA tools: a store out to them, theirs into a store.

Vectors stand raw in the file. Its sidecar (`legible.contract`) says which model, layer and stage. Text that was
written for a row travels as `api_explanation`; an import leaves it beside the store in `explanations.jsonl`, in the
form of a teacher's file.
"""

import json
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from legible import contract as promised
from legible.contract import DatasetContract, Extraction, LegibleExtra, TargetRecord, Templates, VarianceRecord
from legible.contract.dataset import PLACEHOLDER
from legible.data.format import StoreHeader
from legible.data.store import Store
from legible.data.writer import NewRow, StoreWriter, guarded
from legible.documents import Document
from legible.errors import ContractError, UsageError
from legible.fileio import file_sha256, write_atomic
from legible.prompts import parse_explanation, wrap_explanation

Stage = Literal["base", "av_sft", "ar_sft", "rl"]
DEFAULT_TEMPLATES = Templates(
    av="Here is one activation of a language model: <vector>{injection_char}</vector>\nSay in words what it holds.",
    ar="What one activation of a language model holds:\n<text>{explanation}</text>\nThe activation:",
)
EXPLANATIONS = "explanations.jsonl"
ROWS_AT_ONCE = 4096
TEXT_COLUMNS = ("n_raw_tokens", "doc_id", "detokenized_text_truncated")


def export_parquet(
    store: Store,
    layer: int,
    path: Path | str,
    *,
    stage: Stage = "base",
    explanations: Mapping[int, str] | None = None,
    templates: Templates = DEFAULT_TEMPLATES,
    tokens: promised.Tokens | None = None,
    teacher: promised.ApiSummaries | None = None,
    corpus: str | None = None,
    created_at: str | None = None,
) -> DatasetContract:
    """Write one layer of a store as a Parquet dataset with its sidecar.

    Args:
        store: the store.
        layer: one of its layers.
        path: the `.parquet` file; `PATH.nla_meta.yaml` goes beside it.
        stage: which columns; `av_sft` and `ar_sft` hold only the rows with an explanation.
        explanations: row -> the teacher's text.
        templates: prompt texts of the training stages.
        tokens: the marker, where the readers of this file need one.
        teacher: how the explanations were made.
        corpus: name of the documents' source.
        created_at: time stamp; absent: now.

    Returns:
        The sidecar's content; `row_count` says how many rows were written.

    Raises:
        UsageError: a layer or stage that the store cannot give, or a training stage without explanations.
        StoreError: the disk is full, or the folder cannot be written.
    """
    path = Path(path)
    explanations = explanations or {}
    rows = _exported_rows(store, layer, path, stage, explanations)
    build = _Columns(store, layer, stage, explanations, templates)

    def write(temporary: Path) -> None:
        with pq.ParquetWriter(temporary, build.schema()) as writer:
            for start in range(0, len(rows), ROWS_AT_ONCE):
                writer.write_table(build.table(rows[start : start + ROWS_AT_ONCE]))

    guarded(path, lambda: write_atomic(path, write))
    sidecar = _sidecar(store, layer, path.stem, stage, len(rows), corpus).model_copy(
        update={
            "tokens": tokens,
            "prompt_templates": templates if stage != "base" else Templates(),
            "api_summaries": teacher,
            "created_at": created_at or datetime.now(UTC).isoformat(timespec="seconds"),
        }
    )
    promised.write_contract(path, sidecar)
    return sidecar


def _exported_rows(store: Store, layer: int, path: Path, stage: Stage, explanations: Mapping[int, str]) -> list[int]:
    """The rows of one export; whatever is wrong with the request fails here, before a file is touched."""
    if path.suffix != ".parquet":
        raise UsageError(f"{path} does not end in .parquet, as other tools expect.\n  Rename it.")
    if stage not in get_args(Stage):
        raise UsageError(f"no stage {stage!r}, expected one of: {', '.join(get_args(Stage))}.")
    rows = sorted(explanations) if stage in ("av_sft", "ar_sft") else list(range(len(store)))
    if not rows:
        raise UsageError(f"stage {stage} needs explanations, got none.\n  Run `legible teach` first and pass its file.")
    store.vectors(rows[:1], layer)
    return rows


def _sidecar(store: Store, layer: int, name: str, stage: Stage, rows: int, corpus: str | None) -> DatasetContract:
    """What the store itself knows of an export."""
    variance, target = store.variance(layer), str(store.origin.get("target", "unknown"))
    return DatasetContract(
        dataset_id=name,
        stage=stage,
        row_count=rows,
        extraction=Extraction(
            base_model=target,
            d_model=store.d_model,
            layer_index=layer,
            corpus=corpus,
            positions_per_doc=store.origin.get("capture", {}).get("positions_per_doc"),
        ),
        created_by="legible",
        git_commit=promised.git_commit(),
        legible=LegibleExtra(
            layer=layer,
            target=TargetRecord(id=target, sha256=store.origin.get("sha256")),
            variance=VarianceRecord(
                value=variance["value"],
                n=int(variance["n"]),
                documents=int(variance["documents"]),
                split="this file's store",
            ),
        ),
    )


class _Columns:
    """The columns of one export."""

    def __init__(
        self, store: Store, layer: int, stage: Stage, explanations: Mapping[int, str], templates: Templates
    ) -> None:
        self.store, self.layer, self.stage = store, layer, stage
        self.explanations, self.templates = explanations, templates

    def schema(self) -> pa.Schema:
        turns = pa.list_(pa.struct([("role", pa.string()), ("content", pa.string())]))
        fields = [
            ("activation_vector", pa.list_(pa.float32(), self.store.d_model)),
            ("n_raw_tokens", pa.int64()),
            ("activation_layer", pa.int64()),
            ("doc_id", pa.string()),
            ("detokenized_text_truncated", pa.string()),
        ]
        if self.explanations:
            fields.append(("api_explanation", pa.string()))
        if self.stage in ("av_sft", "rl"):
            fields.append(("prompt", turns))
        if self.stage == "ar_sft":
            fields.append(("prompt", pa.string()))
        if self.stage == "av_sft":
            fields.append(("response", pa.string()))
        return pa.schema(fields)

    def table(self, rows: list[int]) -> pa.Table:
        flat = pa.array(self.store.vectors(rows, self.layer).numpy().reshape(-1))
        read = [self.store.row(i) for i in rows]
        texts = [self.explanations.get(i) for i in rows]
        turn = [{"role": "user", "content": str(self.templates.av).replace("{injection_char}", PLACEHOLDER)}]
        columns: dict[str, Any] = {
            "activation_vector": pa.FixedSizeListArray.from_arrays(flat, self.store.d_model),
            "n_raw_tokens": [row.pos + 1 for row in read],
            "activation_layer": [self.layer] * len(rows),
            "doc_id": [row.document.doc_id for row in read],
            "detokenized_text_truncated": [row.prefix for row in read],
            "api_explanation": texts,
            "response": [wrap_explanation(str(text), tags=True) for text in texts],
            "prompt": [turn] * len(rows),
        }
        if self.stage == "ar_sft":
            columns["prompt"] = [str(self.templates.ar).replace("{explanation}", str(text)) for text in texts]
        schema = self.schema()
        return pa.table({name: columns[name] for name in schema.names}, schema=schema)


def import_parquet(
    path: Path | str, out: Path | str, *, tokenizer: Any = None, dtype: Literal["float32", "float16"] = "float32"
) -> Store:
    """Read a Parquet dataset of any NLA tool into a store; run again, it resumes.

    Texts are those of `detokenized_text_truncated` (empty where the file has none), one per row.

    Args:
        path: the `.parquet` file; its sidecar must be beside it.
        out: the new store's folder.
        tokenizer: the base model's; without it token ids are -1 and "the last 8 tokens" are the last 8 words.
        dtype: number format of the stored vectors.

    Raises:
        UsageError: `out` holds something else.
        ContractError: no sidecar, or a file that does not keep its promises (all problems named).
    """
    path, out = Path(path), Path(out)
    contract = promised.read_contract(path)
    if not isinstance(contract, DatasetContract):
        raise ContractError(f"{path} has the sidecar of a model, expected kind nla_dataset.")
    problems = promised.check_contract(path)
    if problems:
        listed = "\n".join(f"- {problem}" for problem in problems)
        raise ContractError(f"{path} does not keep its contract:\n{listed}\n  See `legible contract check {path}`.")
    layer, width = contract.extraction.layer_index, contract.extraction.d_model
    origin = {"target": contract.extraction.base_model, "dataset": contract.dataset_id, "rows": contract.row_count}
    origin |= {"words": tokenizer is None, "parquet": file_sha256(path)}
    writer = StoreWriter(out, StoreHeader(layers=(layer,), d_model=width, dtype=dtype, origin=origin), "import")
    if not writer.manifest.complete:
        file = pq.ParquetFile(path)
        wanted = [name for name in ("activation_vector", *TEXT_COLUMNS) if name in file.schema_arrow.names]
        for number, batch in enumerate(file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted)):
            if number < len(writer.manifest.shards):
                continue
            documents, rows = _read_rows(batch, tokenizer)
            writer.append(documents, rows, {layer: _matrix(batch.column("activation_vector"), width)})
        writer.finish({"documents": contract.row_count, "short": 0, "truncated": 0})
    texts = out / EXPLANATIONS
    guarded(texts, lambda: write_atomic(texts, lambda temporary: _write_explanations(path, contract, temporary)))
    return Store.open(out)


def _matrix(column: pa.Array, width: int) -> torch.Tensor:
    values = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32)
    return torch.from_numpy(values.reshape(len(column), width))


def _read_rows(batch: pa.RecordBatch, tokenizer: Any) -> tuple[list[Document], list[NewRow]]:
    documents: list[Document] = []
    rows: list[NewRow] = []
    for record in batch.select([name for name in TEXT_COLUMNS if name in batch.schema.names]).to_pylist():
        text = record.get("detokenized_text_truncated") or ""
        documents.append(Document(str(record["doc_id"]), text))
        pos = int(record["n_raw_tokens"]) - 1
        rows.append(_located(len(documents) - 1, pos, text, tokenizer))
    return documents, rows


def _located(document: int, pos: int, text: str, tokenizer: Any) -> NewRow:
    words = text.split(" ")
    recent = len(text) - len(" ".join(words[-8:]))
    real: list[tuple[int, tuple[int, int]]] = []
    if tokenizer is not None and text:
        encoded = tokenizer(text, return_offsets_mapping=True)
        spans = zip(encoded["input_ids"], encoded["offset_mapping"], strict=True)
        real = [(token, span) for token, span in spans if span[1] > span[0]]
    if not real:
        return NewRow(document, pos, len(text), recent, token_id=-1, prev_token_id=-1)
    before = real[-2][0] if len(real) > 1 else -1
    return NewRow(document, pos, len(text), real[-8:][0][1][0], token_id=real[-1][0], prev_token_id=before)


def _write_explanations(path: Path, contract: DatasetContract, temporary: Path) -> None:
    with temporary.open("w", encoding="utf-8") as handle:
        for row, text in enumerate(_explanations(path, contract)):
            line: dict[str, Any] = {
                "row": row,
                "text": text,
                "claims": [],
                "reason": None if text else "none in the file",
            }
            handle.write(json.dumps(line, ensure_ascii=False) + "\n")


def _explanations(path: Path, contract: DatasetContract) -> Iterator[str | None]:
    file = pq.ParquetFile(path)
    wanted = [name for name in ("api_explanation", "response", "prompt") if name in file.schema_arrow.names]
    before, _, after = (contract.prompt_templates.ar or "").partition("{explanation}")
    for batch in file.iter_batches(batch_size=ROWS_AT_ONCE, columns=wanted or ["doc_id"]):
        for record in batch.to_pylist():
            prompt = record.get("prompt")
            if record.get("api_explanation"):
                yield record["api_explanation"]
            elif record.get("response"):
                yield parse_explanation(record["response"], tags=True)
            elif isinstance(prompt, str) and before and prompt.startswith(before) and prompt.endswith(after):
                yield prompt[len(before) : len(prompt) - len(after)]
            else:
                yield None
