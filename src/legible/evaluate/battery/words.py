"""The explanation as a bag of words: a ridge from its words to the activation, fitted on the teacher's texts."""

import re
from collections.abc import Sequence

import numpy as np
import torch

from legible.evaluate.battery.parts import Case, Control, Taught
from legible.evaluate.reconstruction import as_misses
from legible.probes.lookup import FactRidge
from legible.teachers import read_taught
from legible.vectors import direction_mse

FIT_ROWS = 20_000
WORDS = "that counting the reading's words does as well as reading its sentences"


def words_ridge(case: Case, taught: Taught) -> Control:
    """The reading's words without their order, mapped to an activation; a failed parse scores as the constant guess."""
    texts = {item.row: item.text for item in read_taught(taught.teach_file) if item.text is not None}
    rows = np.array(sorted(texts))
    if len(rows) > FIT_ROWS:
        rows = np.sort(np.random.default_rng([case.seed, 4]).choice(rows, FIT_ROWS, replace=False))
    names = taught.store.doc_ids
    ridge = FactRidge.fit(
        taught.store.vectors(rows, case.layer),
        [bag(texts[int(row)]) for row in rows],
        [names[int(row)] for row in rows],
        seed=case.seed,
    )
    guess = ridge.predict([bag(text) for text in case.explained.texts])
    failed = torch.tensor([text is None for text in case.explained.texts])
    guess[failed] = case.guess
    return Control(
        "words_ridge",
        WORDS,
        f"ridge over {len(ridge.names)} words, fitted on {len(rows)} of the teacher's explanations",
        as_misses(direction_mse(guess, case.bench.sample.vectors)),
    )


def bag(text: str | None) -> Sequence[str]:
    """The distinct lower-case words of a text, in order."""
    return sorted(set(re.findall(r"[\w'-]+", (text or "").lower())))
