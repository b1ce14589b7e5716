"""The sparse autoencoder: laws of its gates, planted directions found, three folders read, one written, end to end."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
import pytest
import torch
from families import WIDTH, tiny
from safetensors.torch import save_file
from scipy import sparse
from sklearn.metrics import roc_auc_score
from torch import Tensor

from legible.config import InstrumentConfig, SAEConfig
from legible.documents import Document
from legible.errors import UsageError
from legible.instruments import Setting
from legible.instruments.autoencoder import Autoencoder
from legible.instruments.autoencoder_files import read_autoencoder, write_autoencoder
from legible.instruments.latent_labels import auroc, labels_of
from legible.instruments.sae import SparseAutoencoder
from legible.languages.base import Fact, Row
from legible.languages.world import WorldLanguage
from legible.train.instruments import sae as training

TEXT = "Our hero Pavel rested beside the desert. Pavel felt sad."
D, N = 12, 30


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def drawn(kind: str = "jumprelu", d: int = D, n: int = N, **options: bool) -> Autoencoder:
    g = generator(1)
    w_enc, b_enc, w_dec, b_dec = (torch.randn(*shape, generator=g) for shape in ((d, n), (n,), (n, d), (d,)))
    gate = {
        "topk": {"k": 4}, "jumprelu": {"threshold": torch.rand(n, generator=g)}, "standard": {},
    }[kind]  # fmt: skip
    return Autoencoder(w_enc, b_enc, w_dec, b_dec, **gate, **options).requires_grad_(False)


@pytest.fixture
def x() -> Tensor:
    return torch.randn(50, D, generator=generator()) * 3


@dataclass
class Vectors:
    """Rows of a store of which only vectors and documents matter."""

    vectors: Tensor
    facts: list = field(default_factory=list)

    @cached_property
    def doc_ids(self) -> list[str]:
        return [f"d{i // 50}" for i in range(len(self))]

    @cached_property
    def rows(self) -> list[Row]:
        return [Row(Document(name, f"text {i}"), 0, 6, 0, 0, 0) for i, name in enumerate(self.doc_ids)]

    def __len__(self) -> int:
        return len(self.vectors)


def test_topk_keeps_the_k_largest_and_none_that_is_negative(x):
    sae = drawn("topk")
    before, z = sae.before(x), sae.encode(x)
    assert torch.equal((z > 0).sum(-1), (before > 0).sum(-1).clamp(max=4))
    for row, found in zip(before, z, strict=True):
        expected = sorted((max(0.0, v) for v in row.tolist()), reverse=True)[:4]
        assert sorted(found.tolist(), reverse=True)[:4] == pytest.approx(expected)


def test_jumprelu_passes_what_is_strictly_above_its_threshold_unchanged(x):
    sae = drawn("jumprelu")
    before, z = sae.before(x), sae.encode(x)
    above = before > sae.threshold
    assert torch.equal(z[above], before[above])
    assert not z[~above].any()
    at = Autoencoder(torch.eye(2), torch.zeros(2), torch.eye(2), torch.zeros(2), threshold=torch.tensor([1.0, 0.0]))
    assert at.encode(torch.tensor([[1.0, -1.0], [1.5, 0.5]])).tolist() == [[0.0, 0.0], [1.5, 0.5]]


def test_the_straight_through_estimator_has_its_closed_form():
    before, threshold = torch.tensor([[0.99, 1.2], [1.04, 0.9]]), torch.ones(2, requires_grad=True)
    near = training.through(before, threshold)
    assert not near.any()
    near.sum().backward()
    assert threshold.grad.tolist() == pytest.approx([-2 / training.BANDWIDTH, 0.0])


@pytest.mark.parametrize("kind", ["jumprelu", "standard"])
def test_unit_rows_and_scale_change_nothing_but_the_units(x, kind):
    sae = drawn(kind)
    unit = sae.with_unit_rows(2.5)
    assert torch.allclose(unit.W_dec.norm(dim=-1), torch.ones(N))
    assert torch.allclose(unit.decode(unit.encode(2.5 * x)), 2.5 * sae.decode(sae.encode(x)), atol=1e-3)


@pytest.mark.parametrize("kind", ["topk", "jumprelu", "standard"])
@pytest.mark.parametrize("centred", [True, False])
def test_what_is_written_comes_back(x, tmp_path, kind, centred):
    sae = drawn(kind, centred=centred)
    write_autoencoder(tmp_path / "sae", sae, layer=3, model="m", about={"texts": 5}, beside={})
    config = json.loads((tmp_path / "sae" / "cfg.json").read_text(encoding="utf-8"))
    assert (config["architecture"], config["d_in"], config["d_sae"]) == (kind, D, N)
    assert (config["metadata"]["hook_name"], config["apply_b_dec_to_input"]) == ("blocks.3.hook_resid_post", centred)
    held = read_autoencoder(tmp_path / "sae")
    assert (held.layer, held.about, held.sae.architecture) == (3, {"texts": 5}, kind)
    assert float((held.sae.decode(held.sae.encode(x)) - sae.decode(sae.encode(x))).abs().max()) <= 1e-6


def saelens(folder: Path, config: dict, tensors: dict[str, Tensor]) -> Path:
    folder.mkdir()
    (folder / "cfg.json").write_text(json.dumps(config), encoding="utf-8")
    save_file(
        {name: value.detach().contiguous() for name, value in tensors.items()}, folder / "sae_weights.safetensors"
    )
    return folder


def config_of(sae: Autoencoder, **changed: object) -> dict:
    return {
        "architecture": sae.architecture, "d_in": D, "d_sae": N, "dtype": "float32", "apply_b_dec_to_input": True,
        "normalize_activations": "none", "metadata": {"hook_name": "blocks.2.hook_resid_post"}, **changed,
    }  # fmt: skip


def test_a_topk_that_weighs_by_row_length_is_read_as_saelens_runs_it(x, tmp_path):
    sae = drawn("topk")
    folder = saelens(
        tmp_path / "sae", config_of(sae, k=4, rescale_acts_by_decoder_norm=True), dict(sae.named_parameters())
    )
    norms = sae.W_dec.norm(dim=-1)
    z = sae.gate(sae.before(x) * norms)
    held = read_autoencoder(folder)
    assert torch.allclose(held.sae.encode(x), z, atol=1e-4)
    assert torch.allclose(held.sae.decode(held.sae.encode(x)), (z / norms) @ sae.W_dec + sae.b_dec, atol=1e-4)


def test_gemma_scope_is_read(x, tmp_path):
    sae = drawn("jumprelu", centred=False)
    tensors = {name.lower() if name[0] == "W" else name: value.detach() for name, value in sae.named_parameters()}
    save_file(tensors, tmp_path / "params.safetensors")
    assert read_autoencoder(tmp_path).layer is None
    about = {"architecture": "jump_relu", "hf_hook_point_in": "model.layers.7.output"}
    (tmp_path / "config.json").write_text(json.dumps(about), encoding="utf-8")
    held = read_autoencoder(tmp_path)
    assert held.layer == 7
    expected = (x @ sae.W_enc + sae.b_enc) * (x @ sae.W_enc + sae.b_enc > sae.threshold)
    assert torch.allclose(held.sae.encode(x), expected, atol=1e-6)
    assert torch.allclose(held.sae.decode(expected), expected @ sae.W_dec + sae.b_dec, atol=1e-6)


@pytest.mark.parametrize("weighed", [True, False])
def test_llama_scope_is_read_for_raw_activations(x, tmp_path, weighed):
    sae = drawn("jumprelu")
    mean_length, threshold = 6.3, 0.4
    hyper = {
        "act_fn": "jumprelu", "d_model": D, "d_sae": N, "jump_relu_threshold": threshold,
        "dataset_average_activation_norm": {"in": mean_length, "out": mean_length}, "norm_activation": "dataset-wise",
        "hook_point_in": "blocks.8.hook_resid_post", "hook_point_out": "blocks.8.hook_resid_post",
        "sparsity_include_decoder_norm": weighed, "apply_decoder_bias_to_pre_encoder": False,
    }  # fmt: skip
    (tmp_path / "hyperparams.json").write_text(json.dumps(hyper), encoding="utf-8")
    (tmp_path / "checkpoints").mkdir()
    tensors = {
        "encoder.weight": sae.W_enc.T, "encoder.bias": sae.b_enc,
        "decoder.weight": sae.W_dec.T, "decoder.bias": sae.b_dec,
    }  # fmt: skip
    save_file(
        {name: value.detach().contiguous() for name, value in tensors.items()},
        tmp_path / "checkpoints" / "final.safetensors",
    )
    held = read_autoencoder(tmp_path)
    scale = D**0.5 / mean_length
    before = scale * x @ sae.W_enc + sae.b_enc
    lengths = sae.W_dec.norm(dim=-1) if weighed else 1.0
    z = before * (before * lengths / scale > threshold)
    assert held.layer == 8
    assert torch.allclose(held.sae.decode(held.sae.encode(x)), (z @ sae.W_dec + sae.b_dec) / scale, atol=1e-4)


def test_other_dictionaries_are_refused_by_what_they_are(tmp_path):
    sae = drawn("jumprelu")
    own = dict(sae.named_parameters())
    cases = {
        "architecture 'gated'": (config_of(sae, architecture="gated"), own),
        "normalize_activations 'layer_norm'": (config_of(sae, normalize_activations="layer_norm"), own),
        "the place 'blocks.2.hook_mlp_out'": (config_of(sae, metadata={"hook_name": "blocks.2.hook_mlp_out"}), own),
        "tensors W_dec, W_enc, b_dec, b_enc, expected": (
            config_of(sae), {name: value for name, value in own.items() if name != "threshold"},
        ),
        "expected 13 wide": (config_of(sae, d_in=13), own),
    }  # fmt: skip
    for number, (message, (config, tensors)) in enumerate(cases.items()):
        with pytest.raises(UsageError, match=message):
            read_autoencoder(saelens(tmp_path / str(number), config, tensors))
    save_file({**{name.lower(): value.detach() for name, value in own.items()}, "affine_skip_connection": torch.eye(D)},
              tmp_path / "params.safetensors")  # fmt: skip
    with pytest.raises(UsageError, match="affine_skip_connection"):
        read_autoencoder(tmp_path)
    (tmp_path / "sae.pt").write_bytes(b"\x80\x04.")
    (tmp_path / "params.safetensors").unlink()
    with pytest.raises(UsageError, match=r"expected cfg\.json with sae_weights\.safetensors \(SAELens 6\)"):
        read_autoencoder(tmp_path)


def planted(n: int = 8000, d: int = WIDTH, count: int = 40) -> tuple[Tensor, Tensor]:
    """Directions, and rows that are sums of three of them, off centre."""
    g = generator(3)
    directions = torch.nn.functional.normalize(torch.randn(count, d, generator=g), dim=-1)
    which = torch.rand(n, count, generator=g).topk(3, dim=-1).indices
    z = torch.zeros(n, count).scatter(-1, which, 1 + torch.rand(n, 3, generator=g))
    return directions, z @ directions + 0.5


def setting_for(vectors: Tensor, **options: object) -> Setting:
    config = InstrumentConfig(sae=SAEConfig(**{"width": 2, "k": 3, "batch": 128, "lr": 3e-3, **options}))
    return Setting(tiny("llama"), 0, others=Vectors(vectors), config=config)


@pytest.mark.parametrize("kind", ["topk", "jumprelu"])
def test_planted_directions_are_recovered(tmp_path, kind):
    directions, rows = planted()
    training.train(setting_for(rows, kind=kind, steps=800), tmp_path / "sae", lambda done, total: None)
    held = read_autoencoder(tmp_path / "sae")
    cosines = (directions @ held.sae.W_dec.T).max(-1).values
    assert float((cosines > 0.9).float().mean()) >= 0.9
    assert torch.allclose(held.sae.W_dec.norm(dim=-1), torch.ones(2 * WIDTH), atol=1e-5)
    assert held.about["fve"] > 0.8
    assert held.about["l0"] == pytest.approx(3, abs=0.0 if kind == "topk" else 0.5)
    missed = (rows[:400] - held.sae.decode(held.sae.encode(rows[:400]))).square().sum()
    assert 1 - float(missed / (rows[:400] - rows[:400].mean(0)).square().sum()) > 0.8


def test_silent_latents_are_moved_and_only_they():
    sae = training.initial(planted(600)[1], SAEConfig(width=2, k=3), 0)
    silent = torch.zeros(sae.n_latents, dtype=torch.long)
    silent[:5] = training.SILENT
    x = planted(600)[1]
    with torch.no_grad():
        sae.b_enc[:5] = -50.0
    _, metrics, firing = training.loss_of(sae, x, silent, 3)
    assert metrics["silent"] == 5
    assert not firing[:5].any()
    with torch.no_grad():
        sae.b_enc[:5] = 0.5
    before = sae.before(x)
    training._aux(sae, before, (x - x.mean(0)), silent >= training.SILENT).backward()
    assert sae.W_dec.grad[:5].abs().sum() > 0
    assert not sae.W_dec.grad[5:].any()


def run(folder: Path, **options: object) -> None:
    setting = setting_for(planted(600)[1], **{"kind": "jumprelu", "steps": 8, "save_every": 3, **options})
    training.train(setting, folder / "sae", lambda done, total: None)


def test_a_killed_training_ends_like_an_unbroken_one(tmp_path):
    for name in ("whole", "killed"):
        (tmp_path / name).mkdir()
    run(tmp_path / "whole")
    code = f"import test_sae, pathlib; test_sae.run(pathlib.Path({str(tmp_path / 'killed')!r}))"
    environment = {**os.environ, "LEGIBLE_FAULT": "optimizer:6", "PYTHONPATH": os.pathsep.join(sys.path)}
    killed = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=False)
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert (tmp_path / "killed" / "sae.state.safetensors").is_file()
    with pytest.raises(UsageError, match="was made by another configuration"):
        run(tmp_path / "killed", lr=1e-4)
    run(tmp_path / "killed")
    for name in ("sae/sae_weights.safetensors", "sae/labels.json", "sae.metrics.jsonl"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), name
    assert not (tmp_path / "killed" / "sae.state.safetensors").exists()


def test_aurocs_are_those_of_scikit_learn():
    rng = np.random.default_rng(0)
    z = rng.random((300, 6)) * (rng.random((300, 6)) < 0.3)
    z[:, 5] = 0
    holds, decided = rng.random((300, 3)) < [0.2, 0.5, 0.01], rng.random(300) < 0.8
    found = auroc(sparse.csc_matrix(z), holds, decided)
    for latent in range(5):
        for claim in range(2):
            own = roc_auc_score(holds[decided, claim], z[decided, latent])
            assert found[latent, claim] == pytest.approx(own)
    assert (found[5] == -1).all()
    assert (found[:, 2] == -1).all()


def test_a_latent_is_labelled_by_what_it_predicts_and_how_often_that_holds():
    language, rng = WorldLanguage(), np.random.default_rng(0)
    sad, active = rng.random(2000) < 0.5, rng.random((2000, 2))
    z = np.stack([np.where(sad, active[:, 0], 0), active[:, 1]], 1)
    facts = [{"mood": Fact("mood", "stated", ("sad" if one else "glad",))} for one in sad]
    labels = labels_of(sparse.csr_matrix(z), facts, [f"d{i // 10}" for i in range(2000)], language)
    assert (labels[0].kind, labels[0].value) == ("mood", "sad")
    assert labels[0].auroc == 1.0
    assert min(labels[0].shares) > 0.9
    assert labels[1].auroc < 0.6
    assert all(0.35 < share < 0.65 for share in labels[1].shares)
    sae = Autoencoder(torch.eye(WIDTH), torch.zeros(WIDTH), torch.eye(WIDTH), torch.zeros(WIDTH), k=2)
    reader = SparseAutoencoder(tiny("llama"), 0, sae, labels, language)
    vector = torch.zeros(1, WIDTH)
    vector[0, :2] = torch.tensor([0.7, 0.9])
    (said,) = reader.read(vector)
    assert said.text == f"1 mood {labels[1].value} 0.90, 0 mood sad 0.70"
    (scored,) = said.claims
    assert (scored.claim.relation, scored.claim.value, scored.score) == ("mood", "sad", labels[0].share_at(0.7))


def test_a_checkpoint_is_read_by_an_autoencoder_end_to_end(legible, micro_run, tmp_path):
    store, out = micro_run / "store" / "train", tmp_path / "sae"
    command = (
        "instrument", "sae", str(micro_run), str(store), "--out", str(out), "--threads", "1",
        "--sae-width", "2", "--sae-k", "8", "--sae-steps", "60", "--sae-batch", "64",
    )  # fmt: skip
    made = legible(*command, "--json")
    assert (made.code, json.loads(made.out)["layer"]) == (0, 1), made.err
    assert "sae: FVE of raw activations" in made.err
    about = read_autoencoder(out).about
    assert about["l0"] <= 8
    assert about["labels"] == about["rows"] > 0
    written = (out / "cfg.json").stat().st_mtime_ns
    assert legible(*command).code == 0
    assert (out / "cfg.json").stat().st_mtime_ns == written
    read = ("read", str(micro_run), TEXT, "--method", "sae", "--positions", "-1", "--json", "--weights")
    done = legible(*read, str(out))
    assert done.code == 0, done.err
    row = json.loads(done.out)
    assert row["claims"]
    assert all(claim["relation"] in WorldLanguage.kinds for claim in row["claims"])
    latent = int(row["explanation"].split()[0])
    shown = legible("read", str(micro_run), "--method", "sae", "--weights", str(out), "--latent", str(latent), "--json")
    assert shown.code == 0, shown.err
    known = json.loads(shown.out)
    assert known["number"] == latent
    assert f"{latent} {known['label']['kind']} {known['label']['value']}" in row["explanation"]
    assert 1 <= len(known["texts"]) <= 5
    again = tmp_path / "again"
    imported = legible(*command[:5], str(again), "--threads", "1", "--sae-start", str(out))
    assert imported.code == 0, imported.err
    assert (again / "sae_weights.safetensors").read_bytes() == (out / "sae_weights.safetensors").read_bytes()
    assert json.loads((again / "labels.json").read_text()) == json.loads((out / "labels.json").read_text())
    assert json.loads(legible(*read, str(again)).out)["explanation"] == row["explanation"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("read", "builtin", TEXT, "--method", "sae"), "sae needs a folder with an autoencoder"),
        (("read", "builtin", "--latent", "3"), "Add --method sae --weights FOLDER"),
        (("read", "builtin", TEXT, "--method", "sae", "--weights", "{sae}"), "expected layer 2 and width"),
        (("read", "builtin", "--method", "sae", "--weights", "{sae}", "--latent", "3"), "expected layer 2 and width"),
        (("instrument", "tuned-lens", "{run}", "{store}", "--out", "x", "--sae-k", "3"), "instrument is tuned-lens"),
        (("instrument", "sae", "{run}", "{store}", "--out", "x", "--sae-k", "9999"), "k is 9999, expected at most"),
    ],
)  # fmt: skip
def test_what_does_not_fit_is_refused(legible, micro_run, tmp_path, monkeypatch, arguments, message):
    monkeypatch.chdir(tmp_path)
    write_autoencoder(tmp_path / "sae", drawn(), layer=3, model="m", about={}, beside={})
    places = {"sae": tmp_path / "sae", "store": micro_run / "store" / "train", "run": micro_run}
    done = legible(*(argument.format(**places) for argument in arguments))
    assert (done.code, done.out) == (2, ""), done.err
    assert message in done.err
