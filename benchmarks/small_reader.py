"""A small reader beside the full-size one, and three roles in memory beside the target alone.

Both verbalizers are trained in full on the same batches, alternately in one process: the full-size one (every block,
the whole vocabulary) and the small one (some blocks, a head over the ids that the explanations use, a learned map of
the vector). Both then write explanations of one length, stopping nowhere. Each ratio is the median over the rounds, by
wall time. Memory and load time are those of processes of their own: the target alone, and a checkpoint of LoRA adapters
of its size, whose three roles share the target's weights; the seconds are those after the target is there and checked.

    python benchmarks/small_reader.py                                  # random weights of SmolLM2-135M's shape
    python benchmarks/small_reader.py --target MODEL --texts texts.json
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

BARS = {"sft": 4.0, "explanations": 4.0, "memory": 1.10, "load_s": 1.0, "role_mb": 10.0}
WORDS = 60  # of each explanation


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--target", help="model directory; absent: random weights of SmolLM2-135M's shape")
    parser.add_argument(
        "--texts", type=Path, help="corpus whose beginnings stand for explanations; absent: the world's"
    )
    parser.add_argument("--count", type=int, default=600, help="explanations that decide the head's ids")
    parser.add_argument("--keep", type=int, default=3, help="blocks that the small reader keeps at either end")
    parser.add_argument("--layer", type=int, help="layer K; absent: four fifths of the way up")
    parser.add_argument("--batch-tokens", type=int, default=512, help="padded tokens of one SFT step")
    parser.add_argument("--steps", type=int, default=2, help="SFT steps in one block of a round")
    parser.add_argument("--rows", type=int, default=32, help="explanations written in one block of a round")
    parser.add_argument("--tokens", type=int, default=32, help="tokens of each explanation written")
    parser.add_argument("--rounds", type=int, default=3, help="rounds, both readers in turn, after one that warms up")
    parser.add_argument("--lora-rank", type=int, default=16, help="rank of the checkpoint whose memory is measured")
    parser.add_argument("--rank", type=int, default=48, help="rank of the small reader's low-rank form")
    parser.add_argument("--threads", type=int, default=1, help="torch threads")
    parser.add_argument("--load", choices=("target", "roles"), help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.load:
        print(json.dumps(loaded(args.load, args.target, args.layer, args.threads)))
        return
    from support.table import last_line

    with tempfile.TemporaryDirectory() as scratch:
        args.target = args.target or random_target(Path(scratch) / "target")
        record = measure(args, Path(scratch))
    last_line({**record, "bars": BARS, **vars(args)})


def measure(args: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """Everything, printed as it comes; the record."""
    import torch

    from legible.models.target import Target

    torch.set_num_threads(args.threads)
    target = Target.load(args.target)
    args.layer = 4 * target.n_layers // 5 if args.layer is None else args.layer
    record = speeds(args, target, scratch)
    checkpoint = adapters(target, args.layer, args.lora_rank, scratch / "checkpoint")
    del target
    record |= memory(args, checkpoint)
    return record


def speeds(args: argparse.Namespace, target: Any, scratch: Path) -> dict[str, Any]:
    from legible.train.sft import verbalizer_training

    blocks = (*range(args.keep), *range(target.n_layers - args.keep, target.n_layers))
    store, teach_file = taught(args, target, scratch)
    common = {"batch_tokens": args.batch_tokens, "steps": 10_000}
    small = {"verbalizer_blocks": blocks, "output_vocabulary": "corpus", "injection_map": "affine"}
    trainings = {
        name: verbalizer_training(configured({**common, **options}), target, args.layer, store, teach_file)
        for name, options in (("full", {}), ("small", small))
    }
    sft: dict[str, list[float]] = {name: [] for name in trainings}
    writing: dict[str, list[float]] = {name: [] for name in trainings}
    for round_ in range(args.rounds + 1):
        indices = range(round_ * args.steps, (round_ + 1) * args.steps)
        for name, training in trainings.items():
            tokens = sum(int(training.lengths[training.order(i)].sum()) for i in indices)
            seconds = timed(partial(all_steps, training, indices))
            sft[name].append(tokens / seconds)
            seconds = timed(partial(written, training.module, store, args))
            writing[name].append(args.rows / seconds)
    module: Any = trainings["small"].module
    record: dict[str, Any] = {
        "blocks": blocks,
        "output_ids": len(module.outputs),
        "sft_tokens_per_s": medians(sft),
        "sft_ratio": ratio(sft),
        "explanations_per_s": medians(writing),
        "explanations_ratio": ratio(writing),
        "small_parameters": sum(p.numel() for p in module.parameters() if p.requires_grad),
        "full_parameters": sum(p.numel() for p in trainings["full"].module.parameters()),
        "role_mb": low_rank_mb(module, target, args.layer, args.rank, scratch),
    }
    print(f"small reader: blocks {blocks}, {record['output_ids']} output ids, {record['small_parameters']:,} weights")
    print(f"SFT tokens/s      {shown(record['sft_tokens_per_s'])}, ratio {record['sft_ratio']:.2f} (bar 4)")
    print(f"explanations/s    {shown(record['explanations_per_s'])}, ratio {record['explanations_ratio']:.2f} (bar 4)")
    print(f"rank {args.rank}, fp16      {shown(record['role_mb'])} MB a role (bar 10)")
    return record


def all_steps(training: Any, indices: range) -> None:
    for index in indices:
        training.step(index)


def configured(options: dict[str, Any]) -> Any:
    from legible.config import SFTConfig, validated

    return validated(SFTConfig, options)


def taught(args: argparse.Namespace, target: Any, scratch: Path) -> tuple[Any, Path]:
    """A store of activations of some texts, and explanations of its rows; what they say plays no part here."""
    from legible.config import CaptureConfig
    from legible.data.capture import capture
    from legible.documents import read_corpus
    from legible.languages.world import story_document

    if args.texts:
        found = list(islice(read_corpus(args.texts), args.count))
    else:
        found = [story_document("train", 0, index) for index in range(args.count)]
    config = CaptureConfig(layers=(args.layer,), positions_per_doc=12, min_pos=8, max_tokens=48)
    store = capture(target, found[:24], config, scratch / "store")
    teach_file = scratch / "teach.jsonl"
    with teach_file.open("w") as handle:
        for number in range(args.count):
            text = " ".join(found[number].text.split()[:WORDS])
            handle.write(json.dumps({"row": number % len(store), "text": text, "claims": []}) + "\n")
    return store, teach_file


def written(verbalizer: Any, store: Any, args: argparse.Namespace) -> None:
    """Explanations of exactly `--tokens` tokens: nothing stops them."""
    from legible.engines import make_engine

    prompt = verbalizer.prompt
    verbalizer.prompt = replace(prompt, stop_ids=())
    vectors = store.vectors([i % len(store) for i in range(args.rows)], args.layer)
    done = make_engine(verbalizer).generate(vectors, samples=1, max_tokens=args.tokens)
    verbalizer.prompt = prompt
    assert all(len(one.ids) == args.tokens for (one,) in done)


def low_rank_mb(verbalizer: Any, target: Any, layer: int, rank: int, scratch: Path) -> dict[str, float]:
    """Megabytes of the low-rank form of both small roles in float16."""
    import torch

    from legible.models.low_rank import low_rank
    from legible.models.roles import Shape, new_reconstructor

    reconstructor = new_reconstructor(target, layer, Shape(blocks=verbalizer.blocks))
    with torch.no_grad():
        for parameter in reconstructor.parameters():
            if parameter.requires_grad:
                parameter.add_(torch.randn_like(parameter), alpha=1e-3)
    sizes = {}
    for name, role in (("av", verbalizer), ("ar", reconstructor)):
        low_rank(role, target, rank)[0].save(scratch / name, dtype=torch.float16)
        sizes[name] = sum(file.stat().st_size for file in (scratch / name).glob("*.safetensors")) / 1e6
    return sizes


def adapters(target: Any, layer: int, rank: int, out: Path) -> Path:
    """A checkpoint of fresh LoRA adapters of both roles, every block of the verbalizer's and 0..K."""
    from legible.config import AdapterConfig
    from legible.contract import LegibleExtra, TargetRecord
    from legible.injection import Injection
    from legible.models.roles import shared_roles
    from legible.reading.checkpoint import save_checkpoint

    roles = shared_roles(target, layer, Injection(), AdapterConfig(rank=rank), seed=0)
    return save_checkpoint(out, *roles, LegibleExtra(target=TargetRecord(id=target.name, sha256=target.sha256())))


def memory(args: argparse.Namespace, checkpoint: Path) -> dict[str, Any]:
    found: dict[str, dict[str, float]] = {}
    for kind, name in (("target", args.target), ("roles", str(checkpoint))):
        command = [sys.executable, __file__, "--load", kind, "--target", name, "--layer", str(args.layer)]
        done = subprocess.run(
            [*command, "--threads", str(args.threads)],
            check=True,
            stdout=subprocess.PIPE,
            text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(args.threads)},
        )
        found[kind] = json.loads(done.stdout.splitlines()[-1])
    ratios = {
        "process": found["roles"]["mib"] / found["target"]["mib"],
        "added": (found["roles"]["mib"] - found["roles"]["floor"])
        / (found["target"]["mib"] - found["target"]["floor"]),
    }
    print(f"memory, MiB       target {found['target']['mib']:.0f}, three roles {found['roles']['mib']:.0f}: ", end="")
    print(f"{ratios['process']:.3f} times, {ratios['added']:.3f} above what Python and torch take (bar 1.10)")
    print(f"roles loaded in   {found['roles']['wall_s']:.2f} s, {found['roles']['cpu_s']:.2f} CPU-s (bar 1 s)")
    return {"memory": found, "memory_ratio": ratios}


def loaded(kind: str, name: str, layer: int, threads: int) -> dict[str, float]:
    """Resident memory before and after loading, and the seconds that the roles took after the target."""
    import torch

    from legible.models.target import Target
    from legible.reading.opening import load_checkpoint

    torch.set_num_threads(threads)
    floor = resident_mib()
    if kind == "target":
        target = Target.load(name)
        target.sha256()
        target.self_check(layer)
        return {"floor": floor, "mib": resident_mib()}
    whole, checks = (time.perf_counter(), time.process_time()), [0.0, 0.0]

    def apart(method: Callable[..., Any]) -> Callable[..., Any]:
        def run(*given: Any, **options: Any) -> Any:
            before = time.perf_counter(), time.process_time()
            result = method(*given, **options)
            checks[0] += time.perf_counter() - before[0]
            checks[1] += time.process_time() - before[1]
            return result

        return run

    for method in ("load", "sha256", "self_check"):  # what the target takes whether or not roles follow
        setattr(Target, method, apart(getattr(Target, method)))
    found = load_checkpoint(name)
    wall, cpu = time.perf_counter() - whole[0] - checks[0], time.process_time() - whole[1] - checks[1]
    owned = {p.data_ptr() for p in found.target.model.parameters()}
    for role in (found.verbalizer, found.reconstructor):
        assert role is not None
        assert role.arch.embedding.weight.data_ptr() in owned
    return {"floor": floor, "mib": resident_mib(), "wall_s": wall, "cpu_s": cpu}


def resident_mib() -> float:
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def random_target(folder: Path) -> str:
    """A model of SmolLM2-135M's shape with random weights and the world's tokenizer."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    from legible.languages.world import build_tokenizer
    from legible.models.place import quietly

    config = LlamaConfig(
        hidden_size=576, intermediate_size=1536, num_hidden_layers=30, num_attention_heads=9, num_key_value_heads=3,
        vocab_size=49152, max_position_embeddings=2048, tie_word_embeddings=True, bos_token_id=1, eos_token_id=2,
    )  # fmt: skip
    torch.manual_seed(0)
    with quietly():
        LlamaForCausalLM(config).save_pretrained(folder)
    build_tokenizer(2048).save_pretrained(folder)
    return str(folder)


def timed(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def medians(rates: dict[str, list[float]]) -> dict[str, float]:
    return {name: statistics.median(values[1:]) for name, values in rates.items()}


def ratio(rates: dict[str, list[float]]) -> float:
    return statistics.median(small / full for small, full in zip(rates["small"][1:], rates["full"][1:], strict=True))


def shown(values: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.1f}" for name, value in values.items())


if __name__ == "__main__":
    main()
