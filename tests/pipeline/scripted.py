"""Explanations written by hand for the tests of training: an engine that says them, and a joint training with it."""

from pathlib import Path

import torch
import train_jobs as jobs

from legible.config import RLConfig
from legible.data.store import Store
from legible.engines.base import Completion
from legible.engines.local import LocalEngine
from legible.languages.base import Claim
from legible.languages.world import WorldLanguage
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.train.joint import JointTrainer
from legible.train.sft import warm_roles
from legible.train.terms.extras import Extras, Knowledge

WORLD = WorldLanguage()


class Scripted:
    """An engine that says what `texts` gives for a row and a sample, with the verbalizer's own log-probabilities."""

    def __init__(self, verbalizer: Verbalizer, store: Store, texts) -> None:
        self.verbalizer, self.texts = verbalizer, texts
        vectors = store.vectors(range(len(store)), jobs.LAYER)
        self.row_of = {vector.numpy().tobytes(): row for row, vector in enumerate(vectors)}

    @torch.no_grad()
    def generate(self, vectors, keys=None, *, samples=1, temperature=0.0, max_tokens):
        return [[self.write(vector, sample, temperature) for sample in range(samples)] for vector in vectors]

    def write(self, vector, sample: int, temperature: float) -> Completion:
        text = self.texts(self.row_of[vector.numpy().tobytes()], sample)
        stop = self.verbalizer.prompt.stop_ids[0]
        ids = self.verbalizer.tokenizer(text, add_special_tokens=False)["input_ids"]
        given = torch.tensor([[*ids, stop]])
        logprobs = self.verbalizer.logprobs(vector[None], given, torch.ones_like(given), temperature=temperature)
        return Completion(ids, logprobs[0].tolist(), "stop", stop, text, text)


VALUES = {
    "name": ("Bruno", "Oskar"),
    "species": ("fox", "hare"),
    "place": ("harbor", "forest"),
    "mood": ("proud", "sad"),
}


def said_of(store: Store, row: int, *, wrong: bool) -> str:
    """Explanation of a row: two true context claims where it knows as many, the last one false where asked."""
    where = store.row(row)
    facts = WORLD.facts(where)
    known = [Claim("", kind, facts[kind].values[0]) for kind in VALUES if facts[kind].values]
    said = [claim for claim in known if WORLD.in_context(claim, where)][:2] or [Claim("", "species", "hare")]
    if wrong:
        kind, value = said[-1].relation, said[-1].value
        said[-1] = Claim("", kind, next(other for other in VALUES[str(kind)] if other != value))
    return WORLD.write(said, where, 0)


def trainer(folder: Path, store: Store, config: RLConfig, texts, knowledge: Knowledge | None = None) -> JointTrainer:
    """A joint training of the warm start; `texts` says what its engine writes, none: its verbalizer writes."""
    target = Target.load(str(folder / "target"))
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    engine = Scripted(verbalizer, store, texts) if texts else LocalEngine(verbalizer)
    extras = Extras.of(config, store, jobs.LAYER, verbalizer.tokenizer, knowledge)
    return JointTrainer(config, verbalizer, reconstructor, engine, store, jobs.LAYER, None, extras)
