"""What there is to read in a target, before any verbalizer is trained.

Per kind of fact the probes' accuracy; how much of the activation the last two tokens and the position explain; what
the facts add to that; and how close the target's loss comes to the entropy of the text's generator. A target that
holds little beside its last tokens cannot be read, whatever the verbalizer.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from legible.data.store import Store
from legible.documents import Document
from legible.evaluate.controls import lookup_misses
from legible.evaluate.reconstruction import Misses, as_misses
from legible.evaluate.sample import Sample
from legible.languages.base import Language
from legible.models.target import Target
from legible.probes.lookup import FactRidge, TokenLookup, fact_names
from legible.probes.probes import ProbeSet
from legible.stats import ratio_interval
from legible.vectors import direction_mse, variance

LM_DOCUMENTS = 200


def target_report(
    target: Target,
    store_train: Store,
    store_test: Store,
    layer: int,
    language: Language,
    *,
    loss_documents: Sequence[Document] | None = None,
    seed: int = 0,
) -> dict[str, Any]:
    """Probes, lookup, facts and language-model loss of a target.

    Args:
        target: the model under study.
        store_train: activations that fit probes, lookup and ridges (20 k rows or more).
        store_test: activations of other documents, where the fits are judged.
        layer: the layer K read.
        language: knows the facts of the text and, where it has a generator, its entropy.
        loss_documents: fresh documents of the distribution that the target was trained on; absent: those of
            `store_test`.
        seed: of folds and held-out documents.

    Returns:
        One JSON object; see `readable_report` for its keys, and `loss` beside them.
    """
    train = Sample.of_store(store_train, layer, language)
    test = Sample.of_store(store_test, layer, language)
    report = readable_report(train, test, language, seed=seed)
    documents = loss_documents or list({row.document.doc_id: row.document for row in test.rows}.values())
    return {**report, "layer": layer, "loss": loss_report(target, documents[:LM_DOCUMENTS], language)}


def readable_report(train: Sample, test: Sample, language: Language, *, seed: int = 0) -> dict[str, Any]:
    """What the activations hold.

    Returns:
        `kinds` (per kind `accuracy`, `chance`, `corrected` with its interval, `form`), `mean_corrected` and `lowest`
        (the kind read worst and its corrected accuracy), both of the kinds that rows differ in, else null, `variance`,
        `lookup_fve`, `lookup_and_facts_fve`, `facts_add` (stated facts), `known_facts_add` (implied ones too),
        `facts_fve` (known facts alone), the lookup's chosen `ridge` and `shrink`, and `rows`.
    """
    probes = ProbeSet.fit(
        train.vectors, train.labels(language), train.doc_ids, seed=seed, most_values=language.most_values
    )
    lookup = TokenLookup.fit(train.vectors, train.columns, train.doc_ids, seed=seed)
    v = variance(train.vectors)
    miss = lookup_misses(lookup, test)
    stated = _facts_miss(train, test, language, ("stated",), lookup, seed)
    known = _facts_miss(train, test, language, ("stated", "implied"), lookup, seed)
    alone = _facts_miss(train, test, language, ("stated", "implied"), None, seed)
    telling = probes.telling()
    worst = min(telling, key=lambda kind: telling[kind]) if telling else None

    def share(values: Misses, offset: float, scale: float) -> dict[str, float | int]:
        return ratio_interval(values, np.full_like(values, v), test.doc_ids, offset=offset, scale=scale).as_dict()

    return {
        "kinds": probes.report(),
        "mean_corrected": probes.mean_corrected(),
        "lowest": {"kind": worst, "corrected": telling[worst]} if worst is not None else None,
        "variance": v,
        "lookup_fve": share(miss, 1.0, -1.0),
        "lookup_and_facts_fve": share(stated, 1.0, -1.0),
        "facts_add": share(miss - stated, 0.0, 1.0),
        "known_facts_add": share(miss - known, 0.0, 1.0),
        "facts_fve": share(alone, 1.0, -1.0),
        "ridge": lookup.ridge,
        "shrink": lookup.shrink,
        "rows": {"train": len(train), "test": len(test)},
    }


@torch.no_grad()
def loss_report(target: Target, documents: Sequence[Document], language: Language) -> dict[str, float | int | None]:
    """The target's next-token loss on whole documents, beside the entropy that its generator knows.

    Returns:
        `nats_per_token`, `entropy_per_token` and `excess` (null where no generator is known), `documents`, `tokens`,
        `truncated` (documents longer than the context, left out).
    """
    nats, tokens, used = 0.0, 0, 0
    floor: float | None = 0.0
    for document in documents:
        ids = target.encode(document.text).ids
        if len(ids) > target.context:
            continue
        batch = torch.tensor([ids])
        logp = target.logits(batch, torch.ones_like(batch))[0].float().log_softmax(-1)
        nats -= logp[:-1].gather(1, batch[0, 1:, None].to(logp.device)).sum().item()
        tokens += len(ids) - 1
        used += 1
        code_length = language.entropy(document)
        floor = floor + code_length if floor is not None and code_length is not None else None
    per_token = nats / max(1, tokens)
    known = floor / max(1, tokens) if floor is not None else None
    return {
        "nats_per_token": per_token,
        "entropy_per_token": known,
        "excess": per_token - known if known is not None else None,
        "documents": used,
        "tokens": tokens,
        "truncated": len(documents) - used,
    }


def _facts_miss(
    train: Sample, test: Sample, language: Language, statuses: Sequence[str], lookup: TokenLookup | None, seed: int
) -> Misses:
    """Direction error on the test rows of the ridge from facts (beside the lookup's features where given)."""
    known = [fact_names(sample.facts, statuses, language.probe_kinds) for sample in (train, test)]
    columns = train.columns if lookup is not None else None
    ridge = FactRidge.fit(train.vectors, known[0], train.doc_ids, columns=columns, lookup=lookup, seed=seed)
    guess = ridge.predict(known[1], test.columns if lookup is not None else None)
    return as_misses(direction_mse(guess, test.vectors))
