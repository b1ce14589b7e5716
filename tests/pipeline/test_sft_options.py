"""Options of the warm start: its reconstructor reads other words, its teacher keeps what a reconstructor uses."""

import json

import pytest
import train_jobs as jobs
from scripted import WORLD, said_of

from legible.config import TeachConfig
from legible.errors import UsageError
from legible.recipes.stages.rows import Teach
from legible.train.sft import reconstructor_training, warm_roles
from legible.train.terms.paraphrase import Rewording


def test_rewording_is_a_function_of_epoch_and_example(folder, store, target):
    _, reconstructor = warm_roles(jobs.SFT, target, jobs.LAYER, folder / "sft")
    rows = [0, 9, 20]
    tokenizer = reconstructor.tokenizer
    ids = [tokenizer(said_of(store, row, wrong=False), add_special_tokens=False)["input_ids"] for row in rows]
    encode = lambda texts: [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    reword = Rewording(1.0, WORLD, store, tokenizer, encode, 0)
    first = reword(0, [5, 6, 7], rows, ids)
    assert first == [reword(0, [i], [row], [one])[0] for i, row, one in zip((5, 6, 7), rows, ids, strict=True)]
    assert reword(1, [5, 6, 7], rows, ids) != first
    refusing = lambda texts: tokenizer(texts)["input_ids"]  # an empty batch is an error
    assert Rewording(0.0, WORLD, store, tokenizer, refusing, 0)(0, [5, 6, 7], rows, ids) == ids
    claims = lambda one: {(c.relation, c.value) for c in WORLD.parse(tokenizer.decode(one)).claims}
    assert [claims(one) for one in first] == [claims(one) for one in ids]


def test_only_the_reconstructor_reads_other_words_and_it_says_when_it_cannot(folder, target, store, tmp_path):
    teach = tmp_path / "teach.jsonl"
    lines = [
        {"row": r, "text": said_of(store, r, wrong=False), "claims": [], "reason": None} for r in range(len(store))
    ]
    teach.write_text("".join(json.dumps(line) + "\n" for line in lines))
    config = jobs.SFT.model_copy(update={"steps": 3, "paraphrase": 1.0})
    plain = reconstructor_training(config, target, jobs.LAYER, store, teach)
    reworded = reconstructor_training(config, target, jobs.LAYER, store, teach, WORLD)
    assert plain.step(0)["loss"] != reworded.step(0)["loss"]
    with pytest.raises(UsageError, match=r"sft\.paraphrase needs a language"):
        jobs.sft(folder, tmp_path / "sft", config)


def test_the_leverage_of_claims_is_kept_and_needs_a_reconstructor_of_the_same_target(folder, store, tmp_path):
    needs = {"limit": "leverage", "limit_by": "builtin"}
    teach = lambda config, out: Teach(store, config, jobs.LAYER).run(out)
    with pytest.raises(UsageError, match=r"builtin reads layer 2 of a target of width 128; the rows are layer 1"):
        teach(TeachConfig(**needs), tmp_path / "a.jsonl")
    with pytest.raises(UsageError, match="--limit-by CHECKPOINT"):
        teach(TeachConfig(limit="leverage"), tmp_path / "a.jsonl")
