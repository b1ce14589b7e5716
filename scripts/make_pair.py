"""Put a run's checkpoint into the package as a shipped pair: `python scripts/make_pair.py RUN`.

A pair on a target with a name here ships as low-rank differences from it, without the target; one on a target of its
own ships whole, with that. Weights are rounded to float16 on disk, so the calibrator is fitted anew on what ships, and
the reports that lie beside the pair (`evaluation.json`, `truth.json`) are measured on what ships, not on the run. Only
the control battery (`--controls`) is the run's: its controls were trained on the run's own captures.
"""

import argparse
import shutil
import tempfile
from pathlib import Path
from typing import Any

import torch

from legible.config import CalibrateConfig, EvalConfig, TruthConfig, load_config
from legible.contract import LegibleExtra, TargetRecord
from legible.fileio import write_json
from legible.models.differences import pack_head
from legible.models.named import NamedTarget, find_named
from legible.models.target import Target
from legible.reading.checkpoint import LOOKUP, Checkpoint, save_checkpoint, store_metrics
from legible.reading.opening import load_checkpoint
from legible.reading.shipped import WORLD
from legible.recipes.calibrate import summary_lines
from legible.recipes.controls import evaluate_fully
from legible.recipes.export import low_rank_pair
from legible.recipes.inputs import open_store
from legible.recipes.pair import pair_of
from legible.recipes.record import figures
from legible.recipes.stages.calibrate import Calibrate
from legible.recipes.stages.measuring import Evaluate, Truth
from legible.train.sft import verbalizer_loss

ROOT = Path(__file__).resolve().parents[1]
PAIRS = ROOT / "src" / "legible" / "pairs"
WORLD_TARGET = "legible-world-tiny"  # in contracts and for clients of the server
MOST_BYTES = {WORLD: 12_000_000}
MOST_OTHERS = 25_000_000
COST_ROWS, COST_TOKENS = 120, 128  # on which the price of a form is measured, and their longest text
ATTRIBUTIONS = {
    "smollm2": """# Attribution

The pair in this folder was trained with Legible and comes under the Apache License 2.0 (LICENSE).

- **Weights.** `av/` and `ar/` hold low-rank differences from the weights of SmolLM2-135M-Instruct, by HuggingFaceTB
  (Hugging Face), Apache License 2.0. They change that model: a verbalizer and a reconstructor of some of its blocks.
  The model itself is not here; `legible target get smollm2` fetches it.
- **Texts.** The pair was trained on summaries of Wikipedia's vital articles, by Wikipedia contributors, CC BY-SA 4.0
  (each article's history names its authors), and on replies of SmolLM2-135M-Instruct to questions of this project.
  No article text is here. The explanations that it learned from are sentences of Legible's own; of a text they quote
  the last words, words that come next, and names.
- **Labels.** Names and tenses were tagged by spaCy and its small English model (Explosion), MIT License, at training
  time only; nothing of it is here.
"""
}


def main() -> None:
    """Copy or cut, round, calibrate, measure, say how large it is, and put it in its place."""
    arguments = parsed()
    found = load_checkpoint(arguments.run)
    extra = found.contract.legible
    if found.reconstructor is None or extra is None:
        raise SystemExit(f"{arguments.run} is no checkpoint of a whole run: it lacks a reconstructor or a contract")
    named = find_named(extra.target.id) if extra.target is not None else None
    name = arguments.name or (named.short if named is not None else WORLD)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch) / name
        if named is not None:
            save_differences(found, extra, folder, named, arguments.rank, arguments.lookup_rank)
            say_cost(arguments.run, found, folder)
        else:
            save_whole(found, extra, folder, Path(scratch) / "target")
        check_size(folder, name)
        finish(folder, name, arguments)
        check_size(folder, name)
        shutil.rmtree(arguments.out or PAIRS / name, ignore_errors=True)
        shutil.copytree(folder, arguments.out or PAIRS / name)


def parsed() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path, help="directory of a finished run, or a checkpoint")
    parser.add_argument("--name", help="of the pair; absent: its target's short name, or builtin")
    parser.add_argument("--rank", type=int, default=64, help="of the differences from a named target")
    parser.add_argument("--lookup-rank", type=int, default=128, help="of the token lookup beside them")
    parser.add_argument("--corpus", help="documents to calibrate and measure on; absent: the contract's")
    parser.add_argument("--documents", type=int, help="how many are measured; absent: as `legible evaluate`")
    parser.add_argument("--truth-documents", type=int, help="of the truth report; absent: as many")
    parser.add_argument("--samples", type=int, help="explanations per token of the truth report")
    parser.add_argument("--out", type=Path, help="where the pair goes; absent: into the package")
    parser.add_argument("--controls", type=Path, help="the run's trained controls: add the control battery")
    return parser.parse_args()


def save_whole(found: Checkpoint, extra: LegibleExtra, out: Path, target: Path) -> None:
    """The pair and its target in float16; the calibrator of the run is none for the rounded pair."""
    assert found.reconstructor is not None
    found.target.model.to(torch.float16).save_pretrained(target)
    found.target.tokenizer.save_pretrained(target)
    record = TargetRecord(id=WORLD_TARGET, sha256=Target.load(str(target)).sha256())
    save_checkpoint(
        out,
        found.verbalizer,
        found.reconstructor,
        extra.model_copy(update={"target": record, "metrics": {}}),
        target_dir=target,
        lookup=found.lookup,
        probes=found.probes,
        dtype=torch.float16,
    )
    for leftover in out.rglob("generation_config.json"):
        leftover.unlink()


def save_differences(
    found: Checkpoint, extra: LegibleExtra, out: Path, named: NamedTarget, rank: int, lookup_rank: int
) -> None:
    """The pair as low-rank differences in float16 from a named target, whose exact weights the contract names.

    A pair that was trained as adapters is none to cut: it ships as it is, its head in 4 bits.
    """
    adapted = any("lora_" in name for name, _ in pair_of(found)[0].named_parameters())
    pair, kept = (pair_of(found), dict[str, float]()) if adapted else low_rank_pair(found, rank)
    record = TargetRecord(id=named.name, sha256=found.target.sha256())
    corpus = Path(extra.corpus).name if extra.corpus is not None else None
    changes = {"target": record, "corpus": corpus, "metrics": {}}
    save_checkpoint(
        out,
        *pair,
        extra.model_copy(update=changes),
        lookup=found.lookup,
        probes=found.probes,
        dtype=torch.float16,
        marker=found.marker,
    )
    for role in ("av", "ar"):  # the target's own tokenizer reads and writes for both
        for leftover in (*(out / role).glob("tokenizer*"), *(out / role).glob("chat_template*")):
            leftover.unlink()
    if adapted:
        kept["head (4 bits)"] = pack_head(out / "av", found.target.model)
    if found.lookup is not None:
        lookup, share = found.lookup.cut(lookup_rank)
        lookup.save(out / LOOKUP)
        kept = {**kept, f"token lookup (rank {lookup_rank})": share}
    for part, share in kept.items():
        print(f"{part}: {share:.2%} of the squared weights are kept")
    if named.short in ATTRIBUTIONS:
        (out / "ATTRIBUTION.md").write_text(ATTRIBUTIONS[named.short], encoding="utf-8")
        shutil.copyfile(ROOT / "LICENSE", out / "LICENSE")


def say_cost(run: Path, found: Checkpoint, folder: Path) -> None:
    """Print what the form costs: the loss on the teacher's text of the run's dev rows, as trained and as it ships."""
    if not (run / "store" / "dev").is_dir() or found.language is None:
        return
    store, language = open_store(run / "store" / "dev"), found.language
    picked = range(0, len(store), max(1, len(store) // COST_ROWS))
    rows = [(n, row) for n, row in zip(picked, store.rows(picked), strict=True) if language.taught(row)]
    texts = [language.write(language.taught(row), row, 0) for _, row in rows]
    vectors = store.vectors([n for n, _ in rows], found.layer)
    losses = []
    for one in (found, load_checkpoint(folder)):
        ids = one.verbalizer.completion_ids(texts, COST_TOKENS)
        with torch.no_grad():
            losses.append(float(verbalizer_loss(one.verbalizer, vectors, ids)))
    print(f"loss on {len(rows)} dev texts, nats per token: {losses[0]:.4f} as trained, {losses[1]:.4f} as it ships")


def finish(folder: Path, name: str, arguments: argparse.Namespace) -> None:
    """Calibrate what ships, measure it, and put the reports beside it."""
    run, corpus = arguments.run, arguments.corpus or contracts_corpus(arguments.run)
    settings = run / "config.json"
    config = load_config(settings).calibrate if settings.is_file() else CalibrateConfig()
    print("\n".join(summary_lines(Calibrate(load_checkpoint(folder), str(folder), config, corpus).run())))
    shipped = load_checkpoint(folder)
    configs = measuring(run, name, arguments)
    reports = measure(shipped, name, corpus, configs, run, arguments.controls)
    store_metrics(shipped, figures(reports["evaluation"]))
    for report, found in reports.items():
        write_json(folder / f"{report}.json", found)


def contracts_corpus(run: Path) -> str | None:
    """The corpus that the run's contract names, whose path does not ship."""
    extra = load_checkpoint(run).contract.legible
    return extra.corpus if extra is not None else None


def measuring(run: Path, name: str, arguments: argparse.Namespace) -> tuple[EvalConfig, TruthConfig]:
    """How much is measured: in the world as the verbs do by default, elsewhere as the run did."""
    settings, documents = run / "config.json", arguments.documents
    given = {} if documents is None else {"documents": documents}
    truth = {"documents": arguments.truth_documents or documents, "samples": arguments.samples}
    asked = {key: value for key, value in truth.items() if value is not None}
    if name == WORLD or not settings.is_file():
        return EvalConfig.model_validate(given), TruthConfig.model_validate(asked)
    own = load_config(settings).evaluate
    kept = own.model_dump(include={"max_tokens", "probe_rows", "positions_per_doc"}) | asked
    return own.model_copy(update=given), TruthConfig.model_validate(kept)


def measure(
    found: Checkpoint,
    name: str,
    corpus: str | None,
    configs: tuple[EvalConfig, TruthConfig],
    run: Path,
    controls: Path | None,
) -> dict[str, dict[str, Any]]:
    """What `legible evaluate NAME` and `legible truth NAME` print; with controls, the run's battery too."""
    config, truth = configs
    report = Evaluate(found, name, config, corpus).run()
    if controls is not None:
        battery = evaluate_fully(load_checkpoint(run), str(run), config, corpus, folder=controls)
        report["controls"] = battery["controls"]
        report["note"] = "The control table was measured before the weights were rounded to float16."
    return {"evaluation": report, "truth": Truth(found, name, truth, corpus).run()}


def check_size(folder: Path, name: str) -> None:
    """Print the sizes; more bytes than may ship end the program, and what ships already stays as it is."""
    sizes = {path: path.stat().st_size for path in sorted(folder.rglob("*")) if path.is_file()}
    for path, size in sizes.items():
        if size >= 100_000:
            print(f"{size / 1e6:6.2f} MB  {path.relative_to(folder)}")
    total, most = sum(sizes.values()), MOST_BYTES.get(name, MOST_OTHERS)
    print(f"{total / 1e6:6.2f} MB  in all")
    if total > most:
        raise SystemExit(f"{total} bytes, at most {most} may ship: choose a lower --rank or --lookup-rank")


if __name__ == "__main__":
    main()
