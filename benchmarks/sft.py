"""Tokens per second of the warm start against a bare forward and backward on the same batches.

Three rows for each role, run alternately in one process on the same batches:
    legible   one step of `train_sft`: examples, vectors, loss, backward, clipping, optimizer
    bare      the floor: plain model call, loss and backward on tensors made beforehand; no optimizer, no data
    Trainer   transformers' Trainer with group_by_length, the same rows and optimizer kind, its own batches
Tokens are real ones (prompt and explanation), never padding. Bar: legible / bare >= 0.95, padding <= 10 %.

    python benchmarks/sft.py --threads 1
    python benchmarks/sft.py --run runs/tiny        # target, store and teacher's file of a finished run
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
import transformers
from support.table import last_line
from torch import Tensor, nn
from torch.utils.data import Dataset
from transformers import PrinterCallback, Trainer, TrainingArguments

from legible.config import CaptureConfig, PretrainConfig, SFTConfig
from legible.data.batches import pad, padding_share
from legible.data.capture import capture
from legible.data.store import Store
from legible.languages.base import Claim
from legible.languages.world import WorldLanguage, build_tokenizer, story_document
from legible.models.place import quietly
from legible.models.reconstructor import Reconstructor
from legible.models.target import Target
from legible.models.verbalizer import Verbalizer
from legible.recipes.tiny import tiny
from legible.train.lm import new_lm
from legible.train.sft import RoleTraining, reconstructor_training, verbalizer_training
from legible.vectors import direction_mse

BAR = 0.95
LAYER = 2
ROLES = ("verbalizer", "reconstructor")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", help="folder of a finished run; absent: random weights of the tiny recipe's shape")
    parser.add_argument("--steps", type=int, default=10, help="steps in one block")
    parser.add_argument("--rounds", type=int, default=7, help="blocks of each row, alternating")
    parser.add_argument("--batch-tokens", type=int, help="padded tokens per step; absent: the recipe's")
    parser.add_argument("--muon-lr", type=float, help="0 trains with AdamW alone; absent: the recipe's")
    parser.add_argument("--threads", type=int, default=1, help="torch threads of all rows")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    with tempfile.TemporaryDirectory() as folder:
        parts = Path(args.run) if args.run else Path(folder)
        if not args.run:
            prepare(parts)
        config = tiny().sft.model_copy(update={"steps": 10_000})
        if args.batch_tokens:
            config = config.model_copy(update={"batch_tokens": args.batch_tokens})
        if args.muon_lr is not None:
            other = {role: getattr(config, role).model_copy(update={"muon_lr": args.muon_lr}) for role in ROLES}
            config = config.model_copy(update=other)
        record = {role: compare(role, parts, config, args.steps, args.rounds) for role in ROLES}
    used = {"batch_tokens": config.batch_tokens, "muon_lr": config.verbalizer.muon_lr}
    last_line({**record, "bar": BAR, **vars(args), **used})


def prepare(folder: Path) -> None:
    """A random target, its activations on stories, and the world teacher's text for them."""
    tokenizer = build_tokenizer()
    target = Target(new_lm(PretrainConfig(), tokenizer), tokenizer, "random")
    with quietly():
        target.model.save_pretrained(folder / "target")
    tokenizer.save_pretrained(folder / "target")
    stories = [story_document("train", 0, index) for index in range(400)]
    config = CaptureConfig(layers=(LAYER,), min_pos=12, max_tokens=256)
    store = capture(target, stories, config, folder / "store" / "train")
    language = WorldLanguage()
    (folder / "teach").mkdir()
    with (folder / "teach" / "train.jsonl").open("w") as handle:
        for number in range(len(store)):
            row = store.row(number)
            known = [Claim("", fact.relation, fact.values[0]) for fact in language.facts(row).values() if fact.values]
            handle.write(json.dumps({"row": number, "text": language.write(known, row, number)}) + "\n")


def compare(role: str, parts: Path, config: SFTConfig, steps: int, rounds: int) -> dict[str, float]:
    """Measure the three rows of one role, print them, return the record."""
    target, store = Target.load(str(parts / "target")), Store.open(parts / "store" / "train")
    make = verbalizer_training if role == "verbalizer" else reconstructor_training
    training = make(config, target, LAYER, store, parts / "teach" / "train.jsonl")
    bare_module = make(config, target, LAYER, store, parts / "teach" / "train.jsonl").module
    spent: dict[str, list[tuple[float, float]]] = {"legible": [], "bare": [], "Trainer": []}
    read: list[int] = []
    for block in range(rounds + 1):  # the first warms up
        indices = range(block * steps, (block + 1) * steps)
        batches = [training.order(index) for index in indices]
        ready = [tensors(training, store, batch) for batch in batches]
        read.append(sum(int(training.lengths[batch].sum()) for batch in batches))
        spent["bare"].append(timed(partial(all_bare, bare_module, ready)))
        spent["legible"].append(timed(partial(all_steps, training, indices)))
        trainer, wrapped = trainer_of(training, config, store, steps, read[-1] // steps)
        wall, cpu = timed(trainer.train)
        share = read[-1] / wrapped.tokens  # its batches hold other rows
        spent["Trainer"].append((wall * share, cpu * share))
    rates = {name: [n / wall for n, (wall, _) in zip(read[1:], s[1:], strict=True)] for name, s in spent.items()}
    pairs = list(zip(spent["legible"][1:], spent["bare"][1:], strict=True))
    ratios = [statistics.median(floor[i] / ours[i] for ours, floor in pairs) for i in (0, 1)]
    padding = padding_share(training.lengths.tolist(), batches)
    print(f"{role}: {len(training.table)} rows, padding {padding:.1%} (bar 10 %)")
    for name, values in rates.items():
        print(f"  {name:8} {statistics.median(values):8.0f} tokens/s")
    print(f"  legible / bare: {ratios[0]:.3f} of the wall time, {ratios[1]:.3f} of the CPU time (bar {BAR})")
    return {
        **{f"{name}_tokens_per_s": round(statistics.median(values), 1) for name, values in rates.items()},
        "ratio": round(ratios[0], 4),
        "cpu_ratio": round(ratios[1], 4),
        "padding": round(padding, 4),
    }


def all_bare(module: nn.Module, ready: list[tuple[Tensor, Tensor, Tensor]]) -> None:
    for item in ready:
        bare(module, *item)


def all_steps(training: RoleTraining, indices: range) -> None:
    for index in indices:
        training.step(index)


def timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and CPU seconds of a piece of work."""
    wall, cpu = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - cpu


def tensors(training: RoleTraining, store: Store, batch: list[int]) -> tuple[Tensor, Tensor, Tensor]:
    vectors = store.vectors(training.table.rows[batch], LAYER)
    return vectors, *pad([training.table[i] for i in batch])


def loss_of(module: nn.Module, vectors: Tensor, ids: Tensor, mask: Tensor) -> Tensor:
    """The plainest computation of the role's loss with a transformers model."""
    if isinstance(module, Verbalizer):
        prompt = module.prompt_embeds(vectors)
        embeds = torch.cat([prompt, module.model.get_input_embeddings()(ids[:, :-1])], 1)
        whole = torch.cat([mask.new_ones(len(ids), prompt.shape[1]), mask[:, :-1]], 1)
        hidden = module.model(
            inputs_embeds=embeds, attention_mask=whole, use_cache=False, logits_to_keep=ids.shape[1]
        ).logits
        return F.cross_entropy(hidden.flatten(0, 1), ids.masked_fill(mask == 0, -100).flatten())
    assert isinstance(module, Reconstructor)
    return direction_mse(module(ids, mask), vectors).mean()


def bare(module: nn.Module, vectors: Tensor, ids: Tensor, mask: Tensor) -> None:
    loss_of(module, vectors, ids, mask).backward()
    module.zero_grad(set_to_none=True)


class Rows(Dataset):
    def __init__(self, training: RoleTraining, store: Store) -> None:
        self.training, self.store = training, store

    def __len__(self) -> int:
        return len(self.training.table)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {"index": index, "input_ids": self.training.table[index]}


class Wrapped(nn.Module):
    """The role as Trainer wants it: a module that returns its loss."""

    def __init__(self, role: nn.Module, prompt: int) -> None:
        super().__init__()
        self.role, self.prompt, self.tokens = role, prompt, 0

    def forward(self, vectors: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        self.tokens += int(mask.sum()) + len(ids) * self.prompt
        return {"loss": loss_of(self.role, vectors, ids, mask)}


def trainer_of(
    training: RoleTraining, config: SFTConfig, store: Store, steps: int, tokens: int
) -> tuple[transformers.Trainer, "Wrapped"]:
    """Trainer over the same rows with as many rows per step as give `tokens` on average."""

    def collate(rows: list[dict]) -> dict[str, Tensor]:
        batch = [row["index"] for row in rows]
        vectors, ids, mask = tensors(training, store, batch)
        return {"vectors": vectors, "ids": ids, "mask": mask}

    transformers.logging.set_verbosity_error()
    arguments = TrainingArguments(
        output_dir=tempfile.gettempdir(),
        max_steps=steps,
        per_device_train_batch_size=max(1, int(tokens / training.lengths.mean())),
        learning_rate=config.verbalizer.lr,
        train_sampling_strategy="group_by_length",
        use_cpu=True,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        remove_unused_columns=False,
    )
    wrapped = Wrapped(training.module, int(training.lengths[0] - training.table.lengths[0]))
    trainer = Trainer(model=wrapped, args=arguments, train_dataset=Rows(training, store), data_collator=collate)
    trainer.remove_callback(PrinterCallback)
    return trainer, wrapped


if __name__ == "__main__":
    main()
