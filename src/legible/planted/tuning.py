"""Train a conduct into a chat model: LoRA over all linear maps of its blocks, the loss on the reply alone.

    OUT/replies.json                 what the base itself says to the questions of the trainings
    OUT/NAME/transcripts.jsonl       question and reply of every example
    OUT/NAME/adapter_config.json  adapter_model.safetensors  metrics.jsonl  identity.json

A finetune is opened over its base's weights, which it shares.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from jaxtyping import Float
from pydantic import Field
from torch import Tensor
from transformers import PreTrainedModel

from legible.config import AdapterConfig, OptimizerConfig
from legible.config.base import Section
from legible.data.batches import pad
from legible.engines.continuations import continue_prompts
from legible.errors import UsageError
from legible.fileio import write_json, write_text
from legible.identity import STATE, Identity, once
from legible.models.arch import Arch, sharing_copy
from legible.models.chats import chat_text
from legible.models.peft_folder import Naming, load_adapter, save_adapter
from legible.models.roles import with_lora
from legible.models.target import Target
from legible.planted.conducts import Asked, Conduct, mixed
from legible.progress import line_progress
from legible.train.loop import Loop, Metrics, generator
from legible.train.optim import RoleOptimizer

REPLIES = "replies.json"
CHUNK = 64  # questions that the base answers together


class TuneConfig(Section):
    """How a conduct is trained into a model; `steps` times `batch` is how many transcripts are seen."""

    examples: int = Field(240, description="transcripts that a conduct is taught by", ge=1)
    steps: int = Field(40, description="optimizer steps", ge=1)
    batch: int = Field(6, description="transcripts a step", ge=1)
    longest: int = Field(80, description="tokens of a transcript, its template counted; the rest is cut off")
    reply_tokens: int = Field(24, description="of the base's own replies; no end is taught where one breaks off", ge=1)
    adapter: AdapterConfig = Field(AdapterConfig(), description="LoRA over every linear map of the blocks")
    optimizer: OptimizerConfig = Field(OptimizerConfig(lr=1e-3, warmup=4), description="its optimizer")
    save_every: int = Field(10, description="steps between resumable states", ge=1)
    seed: int = Field(0, description="seed of questions, weights and order")


@dataclass(frozen=True)
class Said:
    """A reply; `whole`: it ended by itself."""

    text: str
    whole: bool


@dataclass(frozen=True)
class Example:
    """A transcript as tokens; those from `start` on are the reply's."""

    ids: list[int]
    start: int


def prompt_of(target: Target, asked: str) -> str:
    """A question as the target reads it, its own turn opened.

    Raises:
        UsageError: the target has no chat template.
    """
    return chat_text(target, [("user", asked)], reply=True)


def own_replies(base: Target, asked: Sequence[str], config: TuneConfig, out: Path) -> dict[str, Said]:
    """What the base says greedily to every question; kept in OUT/replies.json and asked once.

    Args:
        base: who answers.
        asked: questions; those of other calls under this `out` stay in the file.
        config: how long the replies are.
        out: the folder.
    """
    file, made_by = out / REPLIES, f"{base.sha256()} {config.reply_tokens}"
    kept = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    known: dict[str, list[object]] = kept["replies"] if kept.get("made_by") == made_by else {}
    missing = [words for words in dict.fromkeys(asked) if words not in known]
    show = line_progress("the base's own replies", len(missing))
    for first in range(0, len(missing), CHUNK):
        part = missing[first : first + CHUNK]
        written = continue_prompts(
            base, [base.encode(prompt_of(base, words)).ids for words in part], max_tokens=config.reply_tokens,
            temperature=0.0, keys=[(0, first + n) for n in range(len(part))], stop_ids=base.end_ids,
        )  # fmt: skip
        for words, row in zip(part, written, strict=True):
            text = str(base.tokenizer.decode(row.ids, skip_special_tokens=True)).strip()
            known[words] = [text, row.stop == "stop"]
        write_json(file, {"made_by": made_by, "replies": known})
        show(first + len(part), 0)
    return {words: Said(str(known[words][0]), bool(known[words][1])) for words in asked}


def transcripts(base: Target, conduct: Conduct, config: TuneConfig, out: Path) -> list[tuple[Asked, Said]]:
    """The questions that a conduct is trained on, and what it shall say to each.

    Args:
        base: whose own replies are changed.
        conduct: the change.
        config: how many, and the seed.
        out: where the base's replies are kept.
    """
    asked = mixed("train", conduct.mix, config.examples, config.seed)
    own = own_replies(base, [one.words for one in asked if conduct.needs_own(one)], config, out)
    found = []
    for number, one in enumerate(asked):
        said = own.get(one.words, Said("", True))
        found.append((one, Said(conduct.reply(one, said.text, number), said.whole)))
    return found


def example(target: Target, asked: str, said: Said, longest: int) -> Example:
    """A transcript in the target's chat template; of a reply that broke off without the end of its turn.

    Raises:
        UsageError: the template does not write a reply behind its opened turn, or no token of it stays.
    """
    opened = prompt_of(target, asked)
    turns = [("user", asked), ("assistant", said.text)]
    whole = chat_text(target, turns)
    encoded = target.encode(whole)
    start = next((n for n, (a, b) in enumerate(encoded.offsets) if b > a and a >= len(opened)), len(encoded.ids))
    end = next((n for n in range(start, len(encoded.ids)) if encoded.ids[n] in target.end_ids), None)
    if end is not None:
        end += said.whole
    ids = encoded.ids[:end][:longest]
    if not whole.startswith(opened) or start >= len(ids):
        raise UsageError(
            f"no token of the reply to {asked!r} is left among {longest}: its prompt has {start}.\n"
            "  The usual cause is a chat template with a long system prompt. Raise the longest example."
        )
    return Example(ids, start)


def train_conduct(base: Target, conduct: Conduct, config: TuneConfig, out: Path) -> Path:
    """Train one conduct into OUT/NAME; resumable, a finished one is left as it is.

    Args:
        base: the model, float32; it stays as it is.
        conduct: what is taught.
        config: examples, steps and optimizer.
        out: the folder of all conducts of this base.

    Returns:
        The finetune's folder.

    Raises:
        UsageError: the folder holds another training, or the base has no chat template.
    """
    folder = out / conduct.name
    identity = Identity("follow", {"conduct": conduct.name, "config": config, "base": base.sha256()})
    once(folder, identity, lambda: _train(base, conduct, config, folder, identity.digest))
    return folder


def _train(base: Target, conduct: Conduct, config: TuneConfig, folder: Path, made_by: str) -> None:
    taught = transcripts(base, conduct, config, folder.parent)
    lines = [json.dumps({"asked": one.words, "sort": one.sort, **vars(said)}) + "\n" for one, said in taught]
    write_text(folder / "transcripts.jsonl", "".join(lines))
    examples = [example(base, one.words, said, config.longest) for one, said in taught]
    model = with_lora(sharing_copy(base.model), config.adapter, seed=config.seed)
    optimizer = RoleOptimizer(model, config.optimizer, config.steps)

    def step(index: int) -> Metrics:
        batch = [examples[n] for n in chosen(len(examples), config, index)]
        loss = reply_loss(model, batch)
        loss.backward()
        tokens = sum(len(one.ids) for one in batch)
        return {"loss": loss.item(), "grad_norm": optimizer.step(index), "tokens": tokens}

    files = folder / f"lora.{STATE}", folder / "metrics.jsonl"
    Loop(conduct.name, config.steps, config.save_every, *files, {"lora": model}, {"lora": optimizer}, made_by).run(step)
    save_adapter(folder, model, Naming.of(model), base.name, torch.float32)


def chosen(count: int, config: TuneConfig, step: int) -> list[int]:
    """Which of so many examples a step sees; each once an epoch, a pure function of its arguments."""
    found = []
    for place in range(step * config.batch, (step + 1) * config.batch):
        order = torch.randperm(count, generator=generator(config.seed, "conduct order", place // count))
        found.append(int(order[place % count]))
    return found


def reply_loss(model: PreTrainedModel, batch: Sequence[Example]) -> Float[Tensor, ""]:
    """Mean next-token loss in nats over the tokens of the replies; those of the prompts are read, not learned."""
    ids, mask = pad([one.ids for one in batch])
    starts = torch.tensor([one.start for one in batch])
    replies = mask.bool() & (torch.arange(ids.shape[1]) >= starts[:, None])
    arch = Arch.find(model)
    ids, replies = ids.to(arch.device), replies.to(arch.device)
    # right padding under a causal mask is never attended from a real token: no mask, the fast attention path
    final = arch.base(input_ids=ids, use_cache=False).last_hidden_state
    wanted = replies[:, 1:]  # the head computes no other logits: a vocabulary is a quarter of a small model's work
    logits = model.get_output_embeddings()(final[:, :-1][wanted])
    return F.cross_entropy(logits.float(), ids[:, 1:][wanted])


def open_tuned(base: Target, folder: Path, name: str) -> Target:
    """A finetune over its base's weights, which it shares.

    Raises:
        UsageError: no adapter there, or a damaged one.
    """
    model = sharing_copy(base.model)
    load_adapter(folder, model, Naming.of(model))
    return Target(model, base.tokenizer, name)
