"""The control battery on a micro run: the text-only writer, the second reconstructor, and one table of it all."""

import filecmp
import json
import shutil
from pathlib import Path

import pytest
import torch

from legible.config import SFTConfig
from legible.data.store import Store
from legible.errors import UsageError
from legible.models.target import Target
from legible.reading.opening import load_checkpoint
from legible.recipes import controls
from legible.train.sft import verbalizer_training
from legible.train.text_writer import TextWriter, WriterTraining, train_text_writer

LAYER = 1
CONFIG = SFTConfig(steps=4, batch_tokens=600, save_every=2)
SMALL = (
    "--documents", "6", "--positions-per-doc", "3", "--probe-rows", "120", "--foresight-rows", "0",
    "--max-tokens", "24", "--threads", "1", "--json",
)  # fmt: skip
ROWS = (
    "constant", "token_lookup", "shuffled_explanations", "no_activation", "other_activation", "text_only_writer",
    "nearest_neighbour", "words_ridge", "probes", "patchscopes", "selfie", "logit_lens", "paraphrase", "rewritten",
    "quote_stripped", "second_reconstructor", "same_last_tokens",
)  # fmt: skip


@pytest.fixture(scope="module")
def target(micro_run: Path) -> Target:
    return Target.load(str(micro_run / "target"))


@pytest.fixture(scope="module")
def training(micro_run: Path, target: Target) -> WriterTraining:
    return WriterTraining(CONFIG, target, LAYER, store_of(micro_run), micro_run / "teach" / "train.jsonl")


def store_of(run: Path) -> Store:
    return Store.open(run / "store" / "train")


def test_the_writer_learns_from_the_batches_of_the_verbalizer(micro_run, target, training):
    verbalizer = verbalizer_training(CONFIG, target, LAYER, store_of(micro_run), micro_run / "teach" / "train.jsonl")
    assert training.table.rows.tolist() == verbalizer.table.rows.tolist()
    assert [training.order(i) for i in range(9)] == [verbalizer.order(i) for i in range(9)]
    mine, theirs = (sum(p.numel() for p in module.parameters()) for module in (training.writer, verbalizer.module))
    assert mine == theirs


def test_padded_log_probabilities_are_those_of_each_row_alone(micro_run, training):
    writer, store = training.writer, store_of(micro_run)
    every = [writer.prefix(store.row(int(row)))[0] for row in training.table.rows]
    batch = sorted(range(len(every)), key=lambda i: len(every[i]))[:: len(every) // 5]
    prefixes = [every[i] for i in batch]
    completions = [training.table[i] for i in batch]
    assert len({len(prefix) for prefix in prefixes}) > 1
    found = writer.logprobs(prefixes, completions)
    for number, (prefix, completion) in enumerate(zip(prefixes, completions, strict=True)):
        ids = torch.tensor([[*prefix, *writer.verbalizer.prompt.suffix_ids, *completion]])
        logits = writer.verbalizer.model(input_ids=ids).logits[0, -len(completion) - 1 : -1]
        logits[:, writer.verbalizer.banned] = float("-inf")
        alone = logits.log_softmax(-1).gather(1, torch.tensor(completion)[:, None])[:, 0]
        assert torch.allclose(found[number, : len(completion)], alone, atol=1e-4)
        assert found[number, len(completion) :].abs().sum() == 0
    found.sum().backward()
    gradients = [parameter.grad for parameter in writer.parameters() if parameter.grad is not None]
    assert gradients
    assert all(gradient.isfinite().all() for gradient in gradients)
    training.optimizer.zero_grad()


def test_a_step_in_pieces_has_the_loss_of_the_whole_batch(training):
    batch = training.order(0)
    pieces = training._pieces(batch)
    assert sum(len(completions) for _, completions in pieces) == len(batch)
    whole = [[row for piece in pieces for row in piece[part]] for part in (0, 1)]
    loss = -training.writer.logprobs(*whole).sum() / sum(len(ids) for ids in whole[1])
    metrics = training.step(0)
    assert metrics["loss"] == pytest.approx(float(loss.detach()), rel=1e-4)


def test_the_writer_writes_the_likeliest_tokens_after_the_text(micro_run, target, training):
    rows = [store_of(micro_run).row(i) for i in (0, 7, 20)]
    writer = training.writer
    texts = writer.write(rows, max_tokens=6)
    for row, (text, length) in zip(rows, texts, strict=True):
        ids = [*target.encode(row.document.text).ids[: row.pos + 1], *writer.verbalizer.prompt.suffix_ids]
        start, stopped = len(ids), False
        while len(ids) - start < 6 and not stopped:
            logits = writer.verbalizer.model(input_ids=torch.tensor([ids])).logits[0, -1]
            logits[writer.verbalizer.banned] = float("-inf")
            stopped = int(logits.argmax()) in writer.verbalizer.prompt.stop_ids
            ids += [] if stopped else [int(logits.argmax())]
        assert length == len(ids) - start
        assert text == ((target.tokenizer.decode(ids[start:]).strip() or None) if stopped else None)


def test_a_long_text_keeps_its_last_tokens_and_fits_the_context(micro_run, target, training):
    row = max((store_of(micro_run).row(i) for i in range(len(store_of(micro_run)))), key=lambda row: row.pos)
    short = TextWriter(training.writer.verbalizer, target, 10)
    ids = target.encode(row.document.text).ids[: row.pos + 1]
    assert short.prefix(row) == (ids[-10:], True)
    assert training.writer.kept + 1 + int(training.table.lengths.max()) - 1 == target.context
    with pytest.raises(UsageError, match="no room for text"):
        TextWriter(training.writer.verbalizer, target, 0)


def test_a_writer_stopped_half_way_ends_like_an_unbroken_one(micro_run, target, tmp_path, monkeypatch):
    job = (CONFIG, target, LAYER, store_of(micro_run), micro_run / "teach" / "train.jsonl")
    whole = train_text_writer(*job, tmp_path / "whole", made_by="a")
    step = WriterTraining.step

    def failing(self: WriterTraining, index: int) -> dict:
        if index == 3:
            raise RuntimeError("stopped")
        return step(self, index)

    monkeypatch.setattr(WriterTraining, "step", failing)
    with pytest.raises(RuntimeError, match="stopped"):
        train_text_writer(*job, tmp_path / "broken", made_by="a")
    monkeypatch.setattr(WriterTraining, "step", step)
    assert train_text_writer(*job, tmp_path / "broken", made_by="a") == whole
    for name in ("metrics.jsonl", "writer/model.safetensors"):
        assert filecmp.cmp(tmp_path / "whole" / name, tmp_path / "broken" / name, shallow=False)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("controls")


def test_one_command_gives_the_whole_table(legible, micro_run, kept):
    html = kept / "report.html"
    command = ("evaluate", str(micro_run), "--full", "--controls", str(kept), "--control-steps", "3", *SMALL)
    done = legible(*command, "--html", str(html))
    assert done.code == 0, done.err
    report = json.loads(done.out)
    table = {row["name"]: row for row in report["controls"]}
    assert tuple(table) == ROWS
    assert all(row["rules_out"] for row in table.values())
    for name, row in table.items():
        assert (row["fve"] is None) == row["note"].startswith("n/a"), (name, row["note"])
        if row["fve"] is not None and name != "same_last_tokens":
            gap = report["fve"]["value"] - row["fve"]["value"]
            assert row["difference"]["value"] == pytest.approx(gap, abs=1e-9), name
            assert row["fve"].keys() == {"value", "low", "high", "n", "documents"}
    for name, interval in report["floor_intervals"].items():
        assert table[name]["fve"] == interval
    assert "3 steps where the verbalizer's warm start took 60" in table["text_only_writer"]["note"]
    assert table["probes"]["context_precision"]["n"] > 0
    page = html.read_text()
    assert "Control battery" in page
    assert "text only writer" in page
    assert {path.name for path in kept.iterdir()} == {"3-steps", "report.html"}
    assert not (micro_run / "controls").exists()
    before = (kept / "3-steps" / "writer" / "writer.json").stat().st_mtime_ns
    again = legible(*(part for part in command if part != "--json"))
    assert (kept / "3-steps" / "writer" / "writer.json").stat().st_mtime_ns == before
    assert "rules out that the text alone would give the same words" in again.out


def test_rows_made_again_without_the_run_are_the_runs_own(micro_run, tmp_path):
    shutil.copytree(micro_run / "checkpoint", tmp_path / "alone")
    found = load_checkpoint(tmp_path / "alone")
    assert controls.run_of(found) is None
    trained = controls.train_controls(found, tmp_path / "controls", 0)
    assert trained.taught is not None
    assert (trained.writer, trained.second) == (None, None)
    again, own = tmp_path / "controls" / "rows" / "teach.jsonl", micro_run / "teach" / "train.jsonl"
    assert filecmp.cmp(again, own, shallow=False)
    rows = list(range(len(trained.taught.store)))
    assert torch.equal(trained.taught.store.vectors(rows, LAYER), store_of(micro_run).vectors(rows, LAYER))


def test_a_run_keeps_its_controls_and_others_a_cache_named_by_their_weights(micro_run, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert controls.controls_folder(load_checkpoint(micro_run)) == micro_run.resolve() / "controls"
    found = controls.controls_folder(load_checkpoint("builtin"))
    assert found.parent == tmp_path / "cache" / "legible" / "controls"
    assert found == controls.controls_folder(load_checkpoint("builtin"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [(("--controls", "x"), "Add --full"), (("--full", "--control-steps", "-1"), "expected 0 or more")],
)
def test_options_that_do_not_fit_are_refused(legible, micro_run, arguments, message):
    done = legible("evaluate", str(micro_run), *arguments)
    assert (done.code, done.out) == (2, "")
    assert message in done.err
