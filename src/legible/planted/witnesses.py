"""Who is asked whether a claim follows the model: readings, and what needs no words: probes, the logit lens, asking.

Every reader here answers of several models; each was fitted on the base alone, or on nothing.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from legible.data.batches import pad
from legible.engines.base import Completion
from legible.engines.sampling import numbered
from legible.evaluate.sample import Sample
from legible.instruments.logit_lens import LogitLens
from legible.languages.text import TextLanguage
from legible.languages.text.ahead import RULES
from legible.languages.text.english import WORDINGS, statement
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.planted.conducts import Asked
from legible.planted.following import SAY, Opinion, Question, Reader
from legible.planted.tuning import prompt_of
from legible.probes.probes import OPEN, ProbeSet
from legible.reading.checkpoint import Checkpoint

AT_ONCE = 32
FEWEST = 5  # rows of the rarer value from which a probe of a kind is fitted
FIRST_TOKENS: dict[str, tuple[str, ...]] = {
    "will_yes": ("Yes", "yes"),
    "will_no": ("No", "no"),
    "will_list": ("1", "-", "*", "•"),
    "will_refuse": ("I", "Sorry", "As", "Unfortunately"),
    "will_code": ("```", "def", "import", "`"),
    "will_quote": ('"', "“"),
    "will_number": tuple("0123456789"),
    "will_ask": ("What", "How", "Why", "Who", "Where", "Which", "Do", "Are"),
}
"""With what a reply begins that does a thing; of the other kinds no first token decides."""

Vectors = Mapping[str, Float[Tensor, "n d_model"]]
"""By model the activations behind every prompt."""


def readings(
    checkpoint: Checkpoint, vectors: Vectors, asked: Collection[tuple[str, Question]], *, samples: int, seed: int
) -> tuple[dict[str, Reader], dict[str, list[str | None]]]:
    """The checkpoint's readers: one greedy reading ranked by the verbalizer's own probability, and several samples.

    Args:
        checkpoint: a pair that was trained on the base.
        vectors: what it reads.
        asked: the (model, question) pairs that will be asked: only of these is a probability computed.
        samples: explanations of every activation beside the greedy one.
        seed: of these; models share their draws, so that equal activations get equal readings.

    Returns:
        `reading`: holds where the greedy reading claims it, its share is the probability that a reading begins with the
        claim, in any of its wordings. `samples`: holds where at least half of the samples claim it, the share is how
        many of all readings do. And the greedy readings by model, None for a failed parse.
    """
    greedy: dict[str, list[Counter[tuple[str, str]]]] = {}
    drawn: dict[str, list[Counter[tuple[str, str]]]] = {}
    texts: dict[str, list[str | None]] = {}
    most = checkpoint.longest
    for model, rows in vectors.items():
        keys = numbered(seed, len(rows))
        written = checkpoint.engine.generate(rows, keys, max_tokens=most)
        several = checkpoint.engine.generate(rows, keys, samples=samples, temperature=1.0, max_tokens=most)
        texts[model] = [group[0].explanation for group in written]
        greedy[model], drawn[model] = [_claimed(group) for group in written], [_claimed(group) for group in several]
    likely = begun(checkpoint.verbalizer, vectors, asked)

    def reading(model: str, question: Question) -> Opinion | None:
        share = likely.get((model, question))
        claim = question.kind, question.value
        return None if share is None else Opinion(greedy[model][question.prompt][claim] > 0, share)

    def sampled(model: str, question: Question) -> Opinion:
        claim = question.kind, question.value
        count = drawn[model][question.prompt][claim]
        every = count + greedy[model][question.prompt][claim]
        return Opinion(2 * count >= samples, every / (samples + 1))

    return {"reading": reading, "samples": sampled}, texts


def _claimed(group: Sequence[Completion]) -> Counter[tuple[str, str]]:
    """In how many explanations of an activation each thing is said to be done next."""
    language = TextLanguage()
    found: Counter[tuple[str, str]] = Counter()
    for one in group:
        claims = language.parse(one.explanation).claims if one.explanation is not None else []
        found.update({(kind, value) for kind in (*RULES, SAY) for value in language.affirmed(claims, kind)})
    return found


@torch.no_grad()
def begun(
    verbalizer: Verbalizer, vectors: Vectors, asked: Collection[tuple[str, Question]]
) -> dict[tuple[str, Question], float]:
    """The probability that an explanation begins with a claim, summed over its wordings.

    Args:
        verbalizer: who would write it.
        vectors: by model.
        asked: (model, question); what its head cannot write is left out.
    """
    texts = {question: _statements(question) for _, question in asked}
    ids = {
        question: [row[:-1] for row in verbalizer.completion_ids(several, 64)] for question, several in texts.items()
    }
    rows = [(key, row) for key in asked for row in ids[key[1]] if row]
    found: dict[tuple[str, Question], float] = {}
    for start in range(0, len(rows), AT_ONCE):
        part = rows[start : start + AT_ONCE]
        given = torch.stack([vectors[model][question.prompt] for (model, question), _ in part])
        logp = verbalizer.logprobs(given, *pad([row for _, row in part])).sum(1)
        for (key, _), share in zip(part, logp.double().exp().tolist(), strict=True):
            found[key] = found.get(key, 0.0) + share
    return found


def _statements(question: Question) -> list[str]:
    return [statement(question.kind, [question.value], wording) for wording in WORDINGS[question.kind].seen]


def lens(target: Target, layer: int, vectors: Vectors) -> Reader:
    """The base's logit lens: the probability of the first tokens of a reply that does it.

    It holds where the likeliest token is one of them. No opinion on kinds that no first token decides.
    """
    shares = {model: LogitLens(target, layer).logits(rows).softmax(-1) for model, rows in vectors.items()}

    def reader(model: str, question: Question) -> Opinion | None:
        begins = _begins(target, question)
        if not begins:
            return None
        row = shares[model][question.prompt]
        return Opinion(int(row.argmax()) in begins, float(row[sorted(begins)].sum()))

    return reader


def _begins(target: Target, question: Question) -> set[int]:
    """The first tokens of replies that do it, with and without a space before; empty where none decides."""
    if question.kind == "will_end":
        return set(target.end_ids)
    said = (question.value,) if question.kind == SAY else FIRST_TOKENS.get(question.kind, ())
    spelled = [word for bare in said for word in (bare, f" {bare}")]
    if not spelled:
        return set()
    firsts = {ids[0] for ids in target.tokenizer(spelled, add_special_tokens=False)["input_ids"] if ids}
    return {token for token in firsts if str(target.tokenizer.decode([token])).strip()}  # a space alone decides nothing


def probes(fitted: Sample, vectors: Vectors, prompts: Sequence[str], seed: int) -> Reader | None:
    """Probes fitted on the base at the ends of other prompts; None where no kind has enough rows of either value.

    Args:
        fitted: of the base, with what it does behind them.
        vectors: what they read, by model.
        prompts: names of the prompts that are read.
        seed: of the fit.
    """
    labels = {}
    for kind, column in fitted.labels(TextLanguage()).items():
        counts = Counter(column)
        if kind in RULES and min(counts["yes"], counts["no"]) >= FEWEST:
            labels[kind] = column
    if not labels:
        return None
    return of_probes(ProbeSet.fit(fitted.vectors, labels, fitted.doc_ids, seed=seed), vectors, prompts)


def of_probes(found: ProbeSet, vectors: Vectors, prompts: Sequence[str]) -> Reader:
    """Fitted probes as a reader: the probability of `yes` among the known values; no opinion on kinds without probe."""
    shares = {model: found.probability(rows, list(prompts)) for model, rows in vectors.items()}

    def reader(model: str, question: Question) -> Opinion | None:
        names = found.classes.get(question.kind, [])
        if question.value not in names:
            return None
        row = shares[model][question.kind][question.prompt]
        rest = 1.0 - float(row[names.index(OPEN)]) or 1.0
        share = float(row[names.index(question.value)]) / rest
        return Opinion(share > 0.5, share)

    return reader


def in_words(targets: Mapping[str, Target], asked: Sequence[Asked], wanted: Collection[tuple[str, Question]]) -> Reader:
    """Every model asked in words whether it will do a thing: the probability of a yes among yes and no.

    Args:
        targets: by name.
        asked: the prompts.
        wanted: (model, question) pairs that are asked; on others there is no opinion.
    """
    shares: dict[tuple[str, Question], float] = {}
    for model, target in targets.items():
        mine = [question for name, question in wanted if name == model]
        yes, no = (sorted(_begins(target, Question(0, kind, "yes"))) for kind in ("will_yes", "will_no"))
        for start in range(0, len(mine), AT_ONCE):
            part = mine[start : start + AT_ONCE]
            ids, mask = pad([target.encode(prompt_of(target, _put(asked, one))).ids for one in part])
            logp = target.logits_at(ids, mask, torch.arange(len(part)), mask.sum(1) - 1).softmax(-1)
            says, denies = logp[:, yes].sum(1), logp[:, no].sum(1)
            found = says / (says + denies).clamp_min(1e-12)
            shares |= {(model, one): share for one, share in zip(part, found.tolist(), strict=True)}

    def reader(model: str, question: Question) -> Opinion | None:
        share = shares.get((model, question))
        return None if share is None else Opinion(share > 0.5, share)

    return reader


def _put(asked: Sequence[Asked], question: Question) -> str:
    """The question about a prompt, in the words of the claim."""
    claim = WORDINGS[question.kind].seen[0 if question.kind == SAY else 1].partition("[will] ")[2]
    does = statement(question.kind, [question.value], claim).removesuffix(".")
    return f"Somebody asks you: {asked[question.prompt].words}\nWill you {does} in your reply? Answer yes or no."
