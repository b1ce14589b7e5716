"""Parquet out and in again: the same rows, in the columns that other tools read."""

import resource
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml

from legible.contract import DatasetContract, check_contract, read_contract
from legible.data.exchange import export_parquet, import_parquet
from legible.data.format import StoreHeader
from legible.data.store import Store
from legible.data.writer import NewRow, StoreWriter
from legible.documents import Document
from legible.errors import ContractError, StoreError, UsageError

D = 8


@pytest.fixture
def store(tmp_path) -> Store:
    origin = {"target": "org/model", "sha256": "00", "capture": {"positions_per_doc": 2}}
    writer = StoreWriter(tmp_path / "store", StoreHeader(layers=(1, 2), d_model=D, dtype="float32", origin=origin))
    texts = [f"Story {i}. One two three four five six seven eight nine ten." for i in range(5)]
    rows = [NewRow(i, 4 + k, 20 + 6 * k, 3, 7, 6) for i in range(5) for k in range(2)]
    vectors = torch.randn(2, 10, D, generator=torch.Generator().manual_seed(0))
    documents = [Document(f"d{i}", text) for i, text in enumerate(texts)]
    writer.append(documents, rows, {1: vectors[0], 2: vectors[1]})
    return writer.finish({"documents": 5})


def test_a_store_comes_back_from_its_export(store, tmp_path):
    path = tmp_path / "base.parquet"
    written = export_parquet(store, 2, path, corpus="stories", created_at="2026-01-01T00:00:00+00:00")
    assert read_contract(path) == written
    assert check_contract(path) == []
    back = import_parquet(path, tmp_path / "back")
    assert torch.equal(back.vectors(range(10), 2), store.vectors(range(10), 2))
    assert back.layers == (2,)
    assert back.doc_ids == store.doc_ids
    assert list(back.pos) == list(store.pos)
    assert [row.prefix for row in back.rows()] == [row.prefix for row in store.rows()]
    assert back.variance(2)["value"] == pytest.approx(store.variance(2)["value"])
    assert back.origin["target"] == "org/model"


def test_columns_are_those_of_the_public_format(store, tmp_path):
    path = tmp_path / "base.parquet"
    export_parquet(store, 1, path)
    schema = pq.read_schema(path)
    assert schema.field("activation_vector").type == pa.list_(pa.float32(), D)
    table = pq.read_table(path).to_pylist()
    assert table[3]["n_raw_tokens"] == store.row(3).pos + 1
    assert table[3]["activation_layer"] == 1
    assert table[3]["detokenized_text_truncated"] == store.row(3).prefix
    meta = yaml.safe_load((tmp_path / "base.parquet.nla_meta.yaml").read_text())
    assert meta["kind"] == "nla_dataset"
    assert meta["stage"] == "base"
    assert meta["row_count"] == 10
    assert meta["extraction"]["norm"] == "none"
    assert meta["extraction"]["positions_per_doc"] == 2
    assert meta["legible"]["target"]["sha256"] == "00"


@pytest.mark.parametrize("stage", ["av_sft", "ar_sft"])
def test_training_stages_hold_prompts_and_explanations(store, tmp_path, stage):
    path = tmp_path / f"{stage}.parquet"
    texts = {0: "Anna is in the park.", 7: "Ben wants a kite."}
    assert export_parquet(store, 1, path, stage=stage, explanations=texts).row_count == 2
    assert check_contract(path) == []
    rows = pq.read_table(path).to_pylist()
    if stage == "av_sft":
        assert rows[1]["prompt"][0]["role"] == "user"
        assert rows[1]["prompt"][0]["content"].count("<INJECT>") == 1
        assert rows[1]["response"] == "<explanation>\nBen wants a kite.\n</explanation>"
    else:
        assert "Ben wants a kite." in rows[1]["prompt"]
    import_parquet(path, tmp_path / "back")
    lines = (tmp_path / "back" / "explanations.jsonl").read_text().splitlines()
    assert [text in line for text, line in zip(texts.values(), lines, strict=True)] == [True, True]


def test_explanations_are_found_without_their_own_column(store, tmp_path):
    for stage in ("av_sft", "ar_sft"):
        path = tmp_path / f"{stage}.parquet"
        export_parquet(store, 1, path, stage=stage, explanations={0: "One.", 1: "Two."})
        pq.write_table(pq.read_table(path).drop_columns(["api_explanation"]), path)
        back = import_parquet(path, tmp_path / f"{stage}-back")
        assert '"text": "Two."' in (back.path / "explanations.jsonl").read_text()


def rewrite(path: Path, column: str, values: pa.Array) -> None:
    table = pq.read_table(path)
    pq.write_table(table.set_column(table.schema.get_field_index(column), column, values), path)


@pytest.mark.parametrize("kind", [pa.float32(), pa.float64(), pa.float16()])
def test_plain_lists_are_read_too(store, tmp_path, kind):
    path = tmp_path / "plain.parquet"
    export_parquet(store, 1, path)
    rewrite(path, "activation_vector", pa.array(store.vectors(range(10), 1).tolist(), pa.list_(kind)))
    assert check_contract(path) == []
    back = import_parquet(path, tmp_path / "back")
    tolerance = 1e-2 if kind == pa.float16() else 0
    assert torch.allclose(back.vectors(range(10), 1), store.vectors(range(10), 1), atol=tolerance, rtol=0)


def test_an_import_goes_on_where_it_stopped(store, tmp_path, monkeypatch):
    monkeypatch.setattr("legible.data.exchange.ROWS_AT_ONCE", 3)
    path = tmp_path / "base.parquet"
    export_parquet(store, 1, path)
    whole = import_parquet(path, tmp_path / "whole")
    append, calls = StoreWriter.append, []

    def stop(self, *args, **kwargs):
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        append(self, *args, **kwargs)

    monkeypatch.setattr(StoreWriter, "append", stop)
    with pytest.raises(KeyboardInterrupt):
        import_parquet(path, tmp_path / "broken")
    monkeypatch.setattr(StoreWriter, "append", append)
    broken = import_parquet(path, tmp_path / "broken")
    for file in whole.path.iterdir():
        assert file.read_bytes() == (broken.path / file.name).read_bytes()


def test_a_tokenizer_locates_the_last_tokens(store, tmp_path):
    from legible.languages.world import build_tokenizer

    tokenizer = build_tokenizer()
    path = tmp_path / "base.parquet"
    export_parquet(store, 1, path)
    row = import_parquet(path, tmp_path / "back", tokenizer=tokenizer).row(3)
    assert row.token_id == tokenizer(row.prefix)["input_ids"][-1]
    assert row.prev_token_id == tokenizer(row.prefix)["input_ids"][-2]
    without = import_parquet(path, tmp_path / "words").row(3)
    assert (without.token_id, without.prev_token_id) == (-1, -1)
    assert len(without.recent.split()) <= 8


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("activation_layer", pa.array([1] * 9 + [2]), r"activation_layer holds \['1', '2'\]: expected layer_index 1"),
        ("activation_vector", pa.array([[0.0] * 7] * 10), r"vectors of width \['7'\]: expected d_model 8"),
        ("activation_vector", pa.array([[1.0] * 8] * 9 + [None]), r"row 9: activation vectors of width"),
        ("activation_vector", pa.array([[1.0] * 8] * 4 + [[1.0] * 7] * 6), r"row 4: activation vectors of width"),
        ("activation_vector", pa.array(["[1, 2]"] * 10), r"column activation_vector holds string: expected lists"),
        ("activation_vector", pa.array([["a"] * 8] * 10), r"column activation_vector holds list.*: expected lists"),
        *(
            (
                "activation_vector",
                pa.array([[1.0] * 8] * 7 + [[1.0] * 7 + [bad]] * 3, pa.list_(pa.float64())),
                r"row 7: activation_vector holds a null, NaN or infinite value: expected finite",
            )
            for bad in (None, float("nan"), float("inf"), 1e300)
        ),
        ("activation_vector", pa.array([[1] * 8] * 6 + [[0] * 8] * 4), r"row 6: activation_vector holds only zeros"),
        *(
            ("n_raw_tokens", pa.array([5] * 3 + [bad] * 7), rf"row 3: n_raw_tokens is {bad}: expected the number")
            for bad in (None, 0, -2, 1.5, float("nan"))
        ),
        ("n_raw_tokens", pa.array(["5"] * 10), r"column n_raw_tokens holds string: expected whole numbers"),
        ("activation_layer", pa.array(["1"] * 10), r"column activation_layer holds string: expected whole numbers"),
        ("activation_layer", pa.array([1, None] * 5), r"row 1: activation_layer holds \['1', 'None'\]"),
        ("doc_id", pa.array(["d", None] * 5), r"row 1: doc_id is null"),
        ("doc_id", pa.array([1.5] * 10), r"column doc_id holds double"),
        ("detokenized_text_truncated", pa.array([b"a"] * 10), r"column detokenized_text_truncated holds binary"),
    ],
)
def test_a_file_that_does_not_keep_its_contract_is_refused(store, tmp_path, column, values, message):
    path = tmp_path / "base.parquet"
    export_parquet(store, 1, path)
    rewrite(path, column, values)
    with pytest.raises(ContractError, match=message):
        import_parquet(path, tmp_path / "back")
    assert not (tmp_path / "back").exists()


def test_whole_floats_dictionaries_and_missing_or_blank_texts_are_read(store, tmp_path):
    from legible.languages.world import build_tokenizer

    path = tmp_path / "base.parquet"
    export_parquet(store, 1, path)
    rewrite(path, "n_raw_tokens", pa.array([5.0] * 10))
    rewrite(path, "doc_id", pa.array(["a", "b"] * 5).dictionary_encode())
    rewrite(path, "detokenized_text_truncated", pa.array([None, "  "] * 5))
    back = import_parquet(path, tmp_path / "back", tokenizer=build_tokenizer())
    assert [(row.pos, row.document.doc_id, row.prefix, row.token_id) for row in back.rows()][:2] == [
        (4, "a", "", -1), (4, "b", "  ", -1),
    ]  # fmt: skip


@pytest.mark.parametrize("content", [None, "no place", "<INJECT> <INJECT>"])
def test_a_prompt_without_a_text_or_one_place_is_told_by_its_row(store, tmp_path, content):
    path = tmp_path / "sft.parquet"
    export_parquet(store, 1, path, stage="av_sft", explanations={0: "One.", 1: "Two."})
    good = [{"role": "user", "content": "a <INJECT> b"}]
    rewrite(path, "prompt", pa.array([good, [{"role": "user", "content": content}]]))
    assert [problem.what for problem in check_contract(path)] == ["row 1: 1 prompts without one <INJECT>"]


def test_a_missing_row_column_or_prompt_is_told(store, tmp_path):
    path = tmp_path / "sft.parquet"
    contract = export_parquet(store, 1, path, stage="av_sft", explanations={0: "One.", 1: "Two."})
    assert isinstance(contract, DatasetContract)
    table = pq.read_table(path)
    pq.write_table(table.slice(0, 1), path)
    assert "has 1 rows" in check_contract(path)[0].what
    pq.write_table(table.drop_columns(["response"]), path)
    assert "columns ['response'] are missing" in check_contract(path)[0].what
    pq.write_table(table, path)
    rewrite(path, "response", pa.array(["no tags", "<explanation>a</explanation>"]))
    assert "1 responses without both tags" in check_contract(path)[0].what
    path.write_bytes(path.read_bytes()[:-20])
    assert "not a whole Parquet file" in check_contract(path)[0].what
    path.unlink()
    assert "is missing" in check_contract(path)[0].what


def test_what_cannot_be_exported_is_told(store, tmp_path):
    with pytest.raises(UsageError, match="holds layers"):
        export_parquet(store, 9, tmp_path / "a.parquet")
    with pytest.raises(UsageError, match="needs explanations"):
        export_parquet(store, 1, tmp_path / "a.parquet", stage="av_sft")
    with pytest.raises(UsageError, match="no stage 'sft'"):
        export_parquet(store, 1, tmp_path / "a.parquet", stage="sft")  # type: ignore[arg-type]
    with pytest.raises(UsageError, match=r"does not end in \.parquet"):
        export_parquet(store, 1, tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["store"]


def test_a_full_disk_leaves_no_half_export(store, tmp_path):
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (500, hard))  # the kernel refuses to write past this size
    try:
        with pytest.raises(StoreError, match=r"could not write .*a\.parquet"):
            export_parquet(store, 1, tmp_path / "a.parquet")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [path.name for path in tmp_path.iterdir()] == ["store"]
