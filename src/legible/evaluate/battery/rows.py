"""The rows of the battery, in order: floors, rivals, and the same reading under other conditions."""

from collections.abc import Callable, Mapping
from typing import Any

from legible.evaluate.battery.neighbours import NEAREST, nearest_neighbour, same_last_tokens
from legible.evaluate.battery.paraphrase import paraphrase_controls, quote_stripped
from legible.evaluate.battery.parts import Case, Control, Trained, scored, texts_control
from legible.evaluate.battery.words import WORDS, words_ridge
from legible.evaluate.battery.zero_shot import zero_shot_controls
from legible.evaluate.bench import Bench
from legible.evaluate.claims import Judged
from legible.evaluate.controls import FLOORS, Controls, other_documents
from legible.evaluate.reconstruction import Explained, Misses
from legible.evaluate.sample import Sample
from legible.instruments import INSTRUMENTS
from legible.instruments.base import value_claim
from legible.instruments.probes import Probes, values_read
from legible.languages.base import judge
from legible.models.target import Target
from legible.train.text_writer import TextWriter, WriterRecord

LENDER_ROWS = 20_000

WRITER = "that the text alone would give the same words: a writer like the verbalizer that sees the text, no activation"
PROBES = INSTRUMENTS[Probes.name].rules_out
SECOND = "that the score is a private code of this pair: a reconstructor that never met this verbalizer reads it"


def battery(
    target: Target,
    layer: int,
    trained: Trained,
    bench: Bench,
    explained: Explained,
    miss: Misses,
    controls: Controls,
    references: Mapping[str, Misses],
    *,
    max_tokens: int,
    seed: int,
    progress: Callable[[str], None] = lambda name: None,
) -> list[dict[str, Any]]:
    """Score every control on the rows of the readings.

    Args:
        target, layer: what was read, for the target's own zero-shot readings.
        trained: the text-only writer, the second reconstructor and the rows of the warm start, where there are any.
        bench, explained, miss: the rows, the readings and their errors.
        controls, references: floors and references of the same evaluation.
        max_tokens: longest text of the writer.
        seed: of wordings and draws.
        progress: called with each control's name before it is measured.

    Returns:
        One object a control; see `legible.evaluate.battery.parts.scored`.
    """
    case = Case(bench, explained, miss, layer, max_tokens, seed)
    measured: list[Control] = []
    for name, measure in (
        ("floors", lambda: _floors(case, controls)),
        ("text-only writer", lambda: [_text_only(case, trained)]),
        ("nearest neighbour", lambda: [_nearest(case, trained)]),
        ("words", lambda: [_words(case, trained)]),
        ("probes", lambda: [_probes(case, references)]),
        ("zero-shot", lambda: zero_shot_controls(case, target)),
        ("paraphrase", lambda: paraphrase_controls(case)),
        ("quotes", lambda: [quote_stripped(case)]),
        ("second reconstructor", lambda: [_second(case, trained)]),
        ("same last tokens", lambda: [same_last_tokens(case, _lender(case, trained))]),
    ):
        progress(name)
        measured += measure()
    return [scored(case, control) for control in measured]


def _floors(case: Case, controls: Controls) -> list[Control]:
    dealt = [case.explained.texts[row] for row in other_documents(case.doc_ids, case.seed)]
    texts = {
        "shuffled_explanations": dealt,
        "no_activation": controls.no_activation.texts,
        "other_activation": controls.other_activation.texts,
    }
    judged = {name: case.judge(found) for name, found in texts.items()}
    return [
        Control(name, floor.rules_out, miss=controls.misses[name], judged=judged.get(name))
        for name, floor in FLOORS.items()
    ]


def _text_only(case: Case, trained: Trained) -> Control:
    if trained.writer is None or trained.writer_record is None or case.bench.text_only is None:
        return Control("text_only_writer", WRITER, f"n/a: {trained.why_not}")
    note = _writer_note(case, trained.writer, trained.writer_record, trained)
    return texts_control(case, "text_only_writer", WRITER, case.bench.text_only, note)


def _writer_note(case: Case, writer: TextWriter, record: WriterRecord, trained: Trained) -> str:
    cut = sum(writer.prefix(row)[1] for row in case.bench.sample.rows)
    steps = trained.taught.steps if trained.taught is not None else record.steps
    same = (
        "as the verbalizer's warm start" if steps == record.steps else f"where the verbalizer's warm start took {steps}"
    )
    return (
        f"{record.parameters:,} parameters like the verbalizer, {record.steps} steps {same}, on the same {record.rows} "
        f"rows in the same batches; {cut} of {len(case.bench.sample)} texts cut to their last {record.kept} tokens"
    )


def _nearest(case: Case, trained: Trained) -> Control:
    if trained.taught is None:
        return Control("nearest_neighbour", NEAREST, f"n/a: {trained.why_not}")
    return nearest_neighbour(case, trained.taught)


def _words(case: Case, trained: Trained) -> Control:
    if trained.taught is None:
        return Control("words_ridge", WORDS, f"n/a: {trained.why_not}")
    return words_ridge(case, trained.taught)


def _probes(case: Case, references: Mapping[str, Misses]) -> Control:
    """What probes read: a ridge from it to the activation, and its values as claims."""
    bench = case.bench
    if bench.probes is None or bench.language is None or "probes" not in references:
        return Control("probes", PROBES, "n/a: no language or no documents to fit probes on")
    judged = []
    for index, read in enumerate(values_read(bench.probes, bench.sample.vectors, bench.sample.doc_ids)):
        for kind, (value, _) in read.items():
            claim = value_claim(bench.language, kind, value)
            verdict = judge(claim, bench.sample.facts[index])
            judged.append(Judged(index, claim, verdict, bench.language.in_context(claim, bench.sample.rows[index])))
    note = f"{len(bench.probes.classes)} kinds, fitted on {bench.probes.rows} rows of other documents"
    return Control("probes", PROBES, note, references["probes"], judged)


def _second(case: Case, trained: Trained) -> Control:
    if trained.second is None:
        return Control("second_reconstructor", SECOND, f"n/a: {trained.why_not}")
    note = "the same teacher rows and steps under another seed; no RL"
    return Control("second_reconstructor", SECOND, note, case.read(case.explained.texts, trained.second), retains=True)


def _lender(case: Case, trained: Trained) -> Sample:
    """Rows that may lend an activation: those that fitted the probes, else training rows, else the sample's own."""
    if case.bench.pool is not None:
        return case.bench.pool
    if trained.taught is None:
        return case.bench.sample
    return Sample.of_store(trained.taught.store, case.layer, case.bench.language, limit=LENDER_ROWS, seed=case.seed)
