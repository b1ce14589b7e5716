"""What the roles do, once on the processor and once on a second device: `python on_second_device.py FOLDER`.

Prints one JSON object a part, with what it answered here and there. A process of its own: torch fixes its devices
before the first backward.
"""

import json
import sys
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import torch
import train_jobs as jobs
from second_device import device, second_device

from legible.config import AdapterConfig, PreferConfig, RLConfig, SFTConfig
from legible.data.store import Store
from legible.engines import make_engine
from legible.languages.world import LANGUAGE
from legible.models.roles import reference_copy
from legible.models.target import Target
from legible.probes.lookup import TokenLookup
from legible.probes.ridge import TokenColumns
from legible.reading import zero_shot
from legible.reading.reader import load
from legible.recipes.stages.targets import Pretrain
from legible.steer.steering import steer_text
from legible.train.joint import JointTrainer
from legible.train.preference.candidates import Sampler
from legible.train.preference.pairs import pick_pairs
from legible.train.preference.training import PreferenceTrainer
from legible.train.sft import warm_roles
from legible.train.terms.extras import Extras, Knowledge
from legible.train.text_writer import train_text_writer

TEXT = "Our hero Pavel rested beside the desert. Pavel decided to steal the crown."
ADAPTED = SFTConfig(
    steps=2, batch_tokens=256, adapter=AdapterConfig(rank=2, dora=True), injection_mode="add", save_every=2
)
TERMS = jobs.RL.model_copy(
    update={
        "minibatches": 1, "contrast": 0.1, "claim_credit": 0.1, "truth_reward": 0.1,
        "truth_credit": 0.1, "paraphrase": 0.5,
    }
)  # fmt: skip


def reading(_folder: Path) -> Any:
    reader = load("builtin")
    found = reader.read(TEXT, positions="4,-2", samples=2)
    searched = load("builtin", engine="tree", budget=2, temperature=1.0).read(TEXT, positions="-2")
    return [[one.explanation, one.direction_mse, one.norm, len(one.claims)] for one in (*found, *searched)]


def instruments(_folder: Path) -> Any:
    methods = ("logit-lens", "patchscopes", "selfie")
    return [
        [one.explanation for one in zero_shot.load("builtin", method).read(TEXT, positions="-2")] for method in methods
    ]


def steering(_folder: Path) -> Any:
    reader = load("builtin")
    modes: tuple[Any, ...] = ("later", "one", "patch")
    given = {"pos": -1, "edits": [("steal", "beg")], "strengths": [0.3], "max_tokens": 4}
    return [steer_text(reader, TEXT, mode=mode, **given).as_dict() for mode in modes]


def capturing(folder: Path) -> Any:
    jobs.prepare(folder)
    return Store.open(folder / "store").vectors(range(16), jobs.LAYER).tolist()


def pretraining(folder: Path) -> Any:
    Pretrain(jobs.PRETRAIN.model_copy(update={"steps": 2})).run(folder / "made")
    return losses(folder / "made.training" / "metrics.jsonl")


def warm_start(folder: Path) -> Any:
    jobs.sft(folder, folder / "sft")
    jobs.sft(folder, folder / "adapted", ADAPTED)
    given = (Target.load(str(folder / "target")), jobs.LAYER, Store.open(folder / "store"), folder / "teach.jsonl")
    few = jobs.SFT.model_copy(update={"steps": 2})
    train_text_writer(few, *given, folder / "writer", made_by="test")
    return [losses(folder / name / "metrics.jsonl") for name in ("sft", "adapted", "writer")]


def joint(folder: Path) -> Any:
    plain, _ = trained(folder, jobs.RL.model_copy(update={"minibatches": 1}), None)
    terms = [
        trained(folder, TERMS.model_copy(update={"space": space}), space)[0] for space in ("downstream", "whitened")
    ]
    return [plain, *terms]


def trained(folder: Path, config: RLConfig, space: str | None) -> Any:
    """One step of joint training."""
    target, store = Target.load(str(started(folder) / "target")), Store.open(started(folder) / "store")
    verbalizer, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, started(folder) / "sft")
    columns = TokenColumns.of(store.token_ids, store.prev_token_ids, store.pos)
    lookup = TokenLookup.fit(store.vectors(range(len(store)), jobs.LAYER), columns, store.doc_ids)
    known = Knowledge(LANGUAGE, lookup, target)
    extras = Extras.of(config, store, jobs.LAYER, verbalizer.tokenizer, known, folder)
    given = (make_engine(verbalizer), store, jobs.LAYER, reference_copy(verbalizer), extras)
    found = JointTrainer(config, verbalizer, reconstructor, *given).step(0)
    return {name: value for name, value in found.items() if isinstance(value, float)}, space


def preference(folder: Path) -> Any:
    store = Store.open(started(folder) / "store")
    roles = warm_roles(jobs.SFT, Target.load(str(started(folder) / "target")), jobs.LAYER, started(folder) / "sft")
    config = PreferConfig(rows=16, samples=3, max_tokens=16, batch=4, length_window=1.0, length_balance=1.0)
    pairs = pick_pairs(
        Sampler(config, make_engine(roles[0]), roles[1], store, jobs.LAYER, LANGUAGE).explain(range(16)), config
    )
    step = PreferenceTrainer(config, roles[0], pairs[0], store, jobs.LAYER, reference_copy(roles[0])).step(0)
    return {name: value for name, value in step.items() if isinstance(value, float)}


def started(folder: Path) -> Path:
    """The folder of the warm start that both devices go on from: theirs differ in the last bits."""
    return folder.parent / "here"


def losses(path: Path) -> list[float]:
    return [json.loads(line)["loss"] for line in path.read_text(encoding="utf-8").splitlines()]


PARTS: tuple[Callable[[Path], Any], ...] = (
    capturing, pretraining, warm_start, joint, preference, reading, instruments, steering,
)  # fmt: skip


def main(folder: Path) -> None:
    torch.set_num_threads(1)
    device()
    found: dict[str, dict[str, Any]] = {part.__name__: {} for part in PARTS}
    for where in ("here", "there"):
        (folder / where).mkdir()
        with second_device() if where == "there" else nullcontext(torch.device("cpu")) as chosen:
            for name, module in list(sys.modules.items()):
                if name.startswith("legible.") and hasattr(module, "device_of"):
                    module.device_of = lambda place, chosen=chosen: chosen  # type: ignore[attr-defined]
            for part in PARTS:
                found[part.__name__][where] = part(folder / where)
    for name, answers in found.items():
        print(json.dumps({"part": name, **answers}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
