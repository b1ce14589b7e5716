"""Settings that make a run of the tiny recipe one of seconds."""

MICRO = (
    "threads=1", "train_documents=60", "short_documents=9", "dev_documents=16", "capture.positions_per_doc=6",
    "pretrain.steps=12", "pretrain.d_model=32", "pretrain.n_heads=2", "pretrain.d_ff=64", "pretrain.n_layers=3",
    "sft.steps=60", "sft.save_every=15", "rl.steps=2", "rl.prompts=4", "rl.group=4", "rl.max_tokens=24",
    "rl.evaluate_every=1", "rl.save_every=1",
    "calibrate.documents=10", "calibrate.short_documents=9", "calibrate.windows=2", "calibrate.samples=3",
    "calibrate.max_tokens=24",
    "evaluate.documents=8", "evaluate.probe_rows=200", "evaluate.foresight_rows=1", "evaluate.continuations=4",
    "evaluate.max_tokens=24",
)  # fmt: skip
"""Settings that make a run of seconds; its models know nothing, and nothing here asks how good they are."""
