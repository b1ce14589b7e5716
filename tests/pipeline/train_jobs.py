"""Small trainings for the tests: run in this process, or as `python train_jobs.py STAGE FOLDER` so as to be killed."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from legible.config import AdapterConfig, CaptureConfig, OptimizerConfig, PretrainConfig, RLConfig, SFTConfig
from legible.data.capture import capture
from legible.data.store import Store
from legible.engines import Engine
from legible.languages.world import build_tokenizer, story_document
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.recipes.stages import training as stages
from legible.recipes.stages.targets import Pretrain
from legible.train.lm import new_lm
from legible.train.rl import RLResult, train_rl
from legible.train.sft import warm_roles
from legible.vectors import direction_mse

LAYER = 1
PRETRAIN = PretrainConfig(
    d_model=32, n_layers=3, n_heads=2, d_ff=48, steps=6, batch=4, warmup=2, bag_layer=LAYER, save_every=2, seed=3
)
OPTIMIZER = OptimizerConfig(lr=1e-2, muon_lr=2e-2, warmup=2)
SFT = SFTConfig(steps=30, batch_tokens=512, verbalizer=OPTIMIZER, reconstructor=OPTIMIZER, save_every=10)
RL = RLConfig(
    steps=4, prompts=4, group=3, max_tokens=16, evaluate_every=2, save_every=1, select_by="score", minibatches=2
)
ADAPTER = AdapterConfig(rank=2, alpha=4.0)


def prepare(folder: Path) -> None:
    """A random target, a store of its activations and a teacher's file with a few refusals."""
    tokenizer = build_tokenizer()
    target = Target(new_lm(PRETRAIN, tokenizer), tokenizer, "random")
    target.model.save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    documents = [story_document("train", 0, index) for index in range(12)]
    store = capture(target, documents, CaptureConfig(layers=(LAYER,), min_pos=12, max_tokens=256), folder / "store")
    with (folder / "teach.jsonl").open("w") as handle:
        for row in range(len(store)):
            words = store.row(row).prefix.split()[-2 - row % 5 :]
            text = None if row % 10 == 9 else " ".join(words)
            handle.write(json.dumps({"row": row, "text": text, "claims": [], "reason": None}) + "\n")


def sft(folder: Path, out: Path, config: SFTConfig = SFT) -> dict[str, Any]:
    target, store = Target.load(str(folder / "target")), Store.open(folder / "store")
    target.name = "random"  # not the path: two folders must end equal
    stage = stages.SFT.alone(target, LAYER, store, folder / "teach.jsonl", config)
    return replace(stage, target_dir=folder / "target").run(out)


def rl(folder: Path, warm: Path, out: Path, config: RLConfig = RL, sft_config: SFTConfig = SFT) -> RLResult:
    target, store = Target.load(str(folder / "target")), Store.open(folder / "store")
    verbalizer, reconstructor = warm_roles(sft_config, target, LAYER, warm)
    vectors = store.vectors(range(8), LAYER)

    def measure(_engine: Engine, reconstructor: Reconstructor) -> dict[str, float]:
        texts = [" ".join(store.row(row).prefix.split()[-4:]) for row in range(8)]
        return {"score": -float(direction_mse(reconstructor.reconstruct(texts), vectors).mean())}

    return train_rl(config, verbalizer, reconstructor, LAYER, store, measure, out, made_by="rl")


def main(stage: str, folder: Path) -> None:
    torch.set_num_threads(1)
    if stage == "pretrain":
        Pretrain(PRETRAIN).run(folder / "pretrain" / "target")
    elif stage == "sft":
        sft(folder, folder / "sft")
    else:
        rl(folder, folder / "sft", folder / "rl")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
