"""EasyNLA's adapters become a checkpoint that writes and reconstructs as they did; misfits are refused."""

import json
from pathlib import Path

import easynla
import families
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from typer.testing import CliRunner

from legible.cli.main import app
from legible.contract import check_contract
from legible.data.exchange import import_parquet
from legible.errors import ContractError, UsageError
from legible.models.arch import FAMILIES
from legible.models.target import Target
from legible.reading.opening import load_checkpoint
from legible.recipes.adapters import AdapterFolders, import_adapters
from legible.vectors import direction_mse

TEXTS = ["w10", "w11 w12 w13", "w20 w3 w5 w30 w31"]


def base_model(tmp_path: Path, family: str) -> Path:
    model = families.tiny(family).model
    return easynla.save_base(model, families.words(), tmp_path / "base")


def folders(tmp_path: Path, **changes: object) -> AdapterFolders:
    return AdapterFolders(**{"verbalizer": [tmp_path / "av"], "reconstructor": tmp_path / "ar", **changes})


@pytest.fixture
def saved(tmp_path):
    """A llama base with both adapters beside it."""
    base = base_model(tmp_path, "llama")
    easynla.save_verbalizer(base, "llama", tmp_path / "av")
    easynla.save_reconstructor(base, "llama", tmp_path / "ar")
    return tmp_path


@pytest.mark.parametrize("family", sorted(FAMILIES))
def test_an_imported_pair_computes_what_the_adapters_did(tmp_path, family):
    base = base_model(tmp_path, family)
    av = easynla.save_verbalizer(base, family, tmp_path / "av")
    critic = easynla.save_reconstructor(base, family, tmp_path / "ar")
    loaded = load_checkpoint(import_adapters(folders(tmp_path), tmp_path / "out"))

    vectors = torch.randn(3, loaded.target.d_model, generator=torch.Generator().manual_seed(1))
    completion = [20, 21, 22, 1]
    ids = torch.tensor([completion] * 3)
    ours = loaded.verbalizer.logits(vectors, ids, torch.ones_like(ids))
    prompt = loaded.verbalizer.prompt
    plain = [easynla.verbalizer_logits(av, prompt.ids, completion, vector) for vector in vectors]
    told = torch.isfinite(ours[0, 0])
    torch.testing.assert_close(ours[:, :, told], torch.stack(plain)[:, :, told], rtol=1e-4, atol=1e-4)
    assert (ours[0] - ours[1])[:, told].abs().max() > 1e-3  # the vector is heard

    tokenizer = families.words()
    rendered = [easynla.CRITIC.replace("{explanation}", text) for text in TEXTS]
    with torch.no_grad():
        theirs = torch.stack([critic(tokenizer.encode(text, add_special_tokens=False)) for text in rendered])
        with_bos = torch.stack([critic(tokenizer.encode(text)) for text in rendered])
    back = loaded.reconstructor.reconstruct(TEXTS)
    assert direction_mse(back, theirs).max() < 1e-6
    assert direction_mse(back, with_bos).max() > 1e-5  # a start token would have changed it
    assert check_contract(tmp_path / "out") == []


def test_adapters_on_top_of_adapters_are_merged_in_order(saved):
    rl = easynla.save_verbalizer(saved / "base", "llama", saved / "rl", seed=3, under=[saved / "av"])
    both = folders(saved, verbalizer=[saved / "av", saved / "rl"])
    loaded = load_checkpoint(import_adapters(both, saved / "out")).verbalizer
    vector = torch.randn(1, 32)
    ids = torch.tensor([[20, 21, 1]])
    ours = loaded.logits(vector, ids, torch.ones_like(ids))[0]
    plain = easynla.verbalizer_logits(rl, loaded.prompt.ids, [20, 21, 1], vector[0])
    told = torch.isfinite(ours[0])
    torch.testing.assert_close(ours[:, told], plain[:, told], rtol=1e-4, atol=1e-4)


def test_a_kept_rms_norm_is_folded_into_the_head(tmp_path):
    base = base_model(tmp_path, "llama")
    easynla.save_verbalizer(base, "llama", tmp_path / "av")
    critic = easynla.save_reconstructor(base, "llama", tmp_path / "ar", strip=False)
    loaded = load_checkpoint(import_adapters(folders(tmp_path), tmp_path / "out"))
    ids = families.words().encode(easynla.CRITIC.replace("{explanation}", TEXTS[1]), add_special_tokens=False)
    with torch.no_grad():
        assert direction_mse(loaded.reconstructor.reconstruct(TEXTS[1:2])[0], critic(ids)) < 1e-6


def test_a_kept_layer_norm_is_refused(tmp_path):
    base = base_model(tmp_path, "gpt2")
    easynla.save_verbalizer(base, "gpt2", tmp_path / "av")
    easynla.save_reconstructor(base, "gpt2", tmp_path / "ar", strip=False)
    with pytest.raises(ContractError, match="no RMS norm"):
        import_adapters(folders(tmp_path), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_reading_of_an_imported_pair_from_the_command_line(saved, monkeypatch):
    runner = CliRunner()
    arguments = ["import-adapters", "--av", saved / "av", "--ar", saved / "ar", "--out", saved / "out", "--json"]
    made = runner.invoke(app, [str(each) for each in arguments])
    assert made.exit_code == 0, made.output
    assert json.loads(made.stdout) == {"checkpoint": str(saved / "out")}
    read = runner.invoke(app, ["read", str(saved / "out"), "w10 w11 w12", "--json"])
    assert read.exit_code == 0, read.output
    rows = [json.loads(line) for line in read.stdout.splitlines()]
    assert [row["layer"] for row in rows] == [easynla.LAYER] * len(rows)
    assert len(rows) == 4


def test_an_adapter_of_another_base_is_refused(saved, tmp_path_factory):
    other = base_model(tmp_path_factory.mktemp("other"), "gpt2")
    with pytest.raises(ContractError, match="does not fit"):
        import_adapters(folders(saved, base=str(other)), saved / "out")


def test_a_reconstructor_of_another_layer_is_refused(saved):
    meta = saved / "ar" / "ar_meta.json"
    meta.write_text(json.dumps(json.loads(meta.read_text()) | {"ar_num_layers": 3}))
    with pytest.raises(ContractError, match="layer 1"):
        import_adapters(folders(saved), saved / "out")


@pytest.mark.parametrize(
    ("spoil", "match"),
    [
        (lambda at: (at / "av" / "adapter_model.safetensors").rename(at / "av" / "adapter_model.bin"), "only pickle"),
        (lambda at: (at / "ar" / "ar_lora_value_head.safetensors").write_bytes(b"no"), "damaged"),
        (lambda at: (at / "ar" / "ar_meta.json").write_text("{}"), "ar_num_layers"),
        (lambda at: (at / "av" / "nla_meta.yaml").unlink(), "no contract"),
        (lambda at: (at / "out").mkdir(), "there already"),
    ],
)
def test_what_is_missing_or_broken_is_named_and_nothing_is_written(saved, spoil, match):
    spoil(saved)
    with pytest.raises((UsageError, ContractError), match=match):
        import_adapters(folders(saved), saved / "out")
    assert not any((saved / "out").glob("*"))


def test_the_base_stays_as_it_was(saved):
    before = Target.load(str(saved / "base")).sha256()
    import_adapters(folders(saved), saved / "out")
    assert load_checkpoint(saved / "out").target.sha256() == before


def dataset(folder: Path, base: Path) -> Path:
    """A base dataset of that tool: 60 activations of ten documents with their texts."""
    draw = torch.Generator().manual_seed(5)
    texts = [" ".join(f"w{(i * 7 + j * j) % 40}" for j in range(6 + i % 6)) for i in range(60)]
    table = pa.table(
        {
            "activation_vector": torch.randn(60, 32, generator=draw).tolist(),
            "n_raw_tokens": [len(text.split()) + 1 for text in texts],
            "activation_layer": [easynla.LAYER] * 60,
            "doc_id": [f"doc{i // 6}" for i in range(60)],
            "detokenized_text_truncated": texts,
        }
    )
    pq.write_table(table, folder / "base.parquet")
    meta = easynla.sidecar(base) | {"stage": "base", "row_count": 60}
    (folder / "base.parquet.nla_meta.yaml").write_text(yaml.safe_dump(meta))
    return folder / "base.parquet"


@pytest.mark.parametrize("tokenized", [True, False])
def test_a_store_of_the_training_activations_gives_variance_and_lookup(saved, tokenized):
    tokenizer = families.words() if tokenized else None
    store = import_parquet(dataset(saved, saved / "base"), saved / "store", tokenizer=tokenizer)
    import_adapters(folders(saved), saved / "out", store=saved / "store")
    loaded = load_checkpoint(saved / "out")
    assert loaded.variance == store.variance(easynla.LAYER)["value"]
    assert (loaded.lookup is not None) == tokenized
