"""Published pairs by name: twins of all four on a hub of our own, asked by the real client, read end to end."""

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from threading import Event

import pytest
import torch
import yaml
from hub_server import Hub
from huggingface_hub import constants
from pairs import AR_TEMPLATE, AV_TEMPLATE, LAYER, SAID, TEXT, TWINS, WIDTH, write_twin
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer

import legible as package
from legible.config import CaptureConfig
from legible.data.capture import capture
from legible.data.predictions import token_texts
from legible.documents import Document, read_corpus, split_of
from legible.errors import UsageError
from legible.models.target import Target
from legible.reading.locate import locate, sibling
from legible.reading.opening import load_checkpoint
from legible.reading.reader import load
from legible.vectors import norm_outliers, unit, variance

QWEN, LLAMA = TWINS["qwen"], TWINS["llama"]


@pytest.fixture(scope="session")
def published(tmp_path_factory) -> Path:
    """The repositories of all four twins; read only."""
    root = tmp_path_factory.mktemp("published")
    for twin in TWINS.values():
        write_twin(twin, root)
    return root


@pytest.fixture
def hub(published, tmp_path, monkeypatch) -> Iterator[Hub]:
    """A hub that serves them, and a client that knows no other, with an empty cache."""
    with Hub(published).serving() as serving:
        for name, value in client(serving, tmp_path).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setattr(constants, "ENDPOINT", serving.url)
        monkeypatch.setattr(
            constants, "HUGGINGFACE_CO_URL_TEMPLATE", serving.url + "/{repo_id}/resolve/{revision}/{filename}"
        )
        monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "hf" / "token"))
        yield serving


def client(hub: Hub, folder: Path) -> dict[str, str]:
    """The environment of a client of this hub, its caches in this folder."""
    return {"HF_ENDPOINT": hub.url, "HF_HOME": str(folder / "hf"), "XDG_CACHE_HOME": str(folder / "cache")}


def by_hand(root: Path, twin, text: str, pos: int) -> tuple[str, float]:
    """What the published recipe makes of one token, with transformers alone: explanation and 2 (1 - cos)."""
    whole = AutoModelForCausalLM.from_pretrained(root / twin.base, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(root / twin.base)
    ids = torch.tensor([tokenizer(text)["input_ids"]])
    with torch.no_grad():
        vector = whole(input_ids=ids, output_hidden_states=True).hidden_states[LAYER + 1][0, pos]
        said = _generate(root / f"{twin.name}-av", vector)
        back = _reconstruct(root / f"{twin.name}-ar", twin, said)
    return said, float(2 - 2 * torch.cosine_similarity(back, vector, dim=0))


def _generate(folder: Path, vector: torch.Tensor) -> str:
    meta = yaml.safe_load((folder / "nla_meta.yaml").read_text("utf-8"))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    content = AV_TEMPLATE.format(injection_char=meta["tokens"]["injection_char"])
    turn = [{"role": "user", "content": content}]
    ids = tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=True)["input_ids"]
    embeds = model.get_input_embeddings()(torch.tensor([ids]))
    embeds[0, ids.index(meta["tokens"]["injection_token_id"])] = (
        vector / vector.norm() * meta["extraction"]["injection_scale"]
    )
    written: list[int] = []
    ends = model.generation_config.eos_token_id
    while len(written) < 64 and not (written and written[-1] in ends):
        logits = model(inputs_embeds=embeds).logits[0, -1]
        written.append(int(logits.argmax()))
        embeds = torch.cat([embeds, model.get_input_embeddings()(torch.tensor([[written[-1]]]))], 1)
    found = re.search(r"<explanation>\s*(.*?)\s*</explanation>", tokenizer.decode(written), re.DOTALL)
    assert found is not None
    return found[1]


def _reconstruct(folder: Path, twin, said: str) -> torch.Tensor:
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    base = model.model.language_model if "ar" in twin.wrapped else model.model
    base.norm = torch.nn.Identity()
    ids = AutoTokenizer.from_pretrained(folder)(AR_TEMPLATE.format(explanation=said), return_tensors="pt")["input_ids"]
    head = load_file(folder / "value_head.safetensors")["weight"].float()
    return head @ base(input_ids=ids).last_hidden_state[0, -1]


@pytest.mark.parametrize("kind", TWINS)
def test_a_published_pair_is_read_by_name_as_its_recipe_reads_it(kind, hub, published, capsys):
    twin = TWINS[kind]
    reader = package.load(f"{twin.name}-av")
    reading = reader.read(TEXT, positions="60")[0]
    said, miss = by_hand(published, twin, TEXT, 60)
    assert reading.explanation == said == SAID
    assert reading.direction_mse == pytest.approx(miss, abs=1e-4)
    assert reading.layer == LAYER
    assert reader.checkpoint.target.name == twin.base
    told = capsys.readouterr().err
    for name in (f"{twin.name}-av", f"{twin.name}-ar", twin.base):
        assert re.search(rf"downloading {name}: [\d.]+ kB in \d+ files\n", told)
    taken = {name for name, sent in hub.served.items() if sent}
    assert taken
    assert not [name for name in taken if name.endswith(".bin") or "optimizer" in name]


@pytest.mark.parametrize("kind", ["gemma12", "llama"])
def test_a_published_verbalizer_stops_at_every_end_that_its_own_files_name(kind, hub):
    verbalizer = load_checkpoint(f"{TWINS[kind].name}-av").verbalizer
    ends = verbalizer.model.generation_config.eos_token_id
    assert set(ends) <= set(verbalizer.prompt.stop_ids)
    assert not set(ends) & set(verbalizer.prompt.banned_ids)


def test_either_half_names_the_pair_and_nothing_is_downloaded_twice(hub):
    first = locate(f"{QWEN.name}-ar")
    sent = dict(hub.served)
    assert locate(f"{QWEN.name}-av") == first
    assert hub.served == sent
    assert (first.av.parts[-3], first.ar.parts[-3]) == tuple(
        f"models--{QWEN.name.replace('/', '--')}-{role}" for role in ("av", "ar")
    )


def test_the_command_line_reads_a_pair_by_name_in_a_process_of_its_own(hub, tmp_path):
    command = [
        sys.executable,
        "-m",
        "legible.cli.main",
        "read",
        f"{LLAMA.name}-av",
        TEXT,
        "--positions",
        "60",
        "--json",
    ]
    done = subprocess.run(command, env=os.environ | client(hub, tmp_path), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.count("downloading")) == (0, 3), done.stderr
    assert json.loads(done.stdout)["explanation"] == SAID


def test_a_connection_that_breaks_goes_on_within_the_file(hub, published, monkeypatch):
    monkeypatch.setattr(constants, "DOWNLOAD_CHUNK_SIZE", 500)
    (file,) = sorted((published / f"{LLAMA.name}-av").glob("model*.safetensors"))
    hub.broken[file.name] = 1000
    found = locate(f"{LLAMA.name}-av", "none")
    assert hub.ranges == [1000]
    assert (found.av / file.name).read_bytes() == file.read_bytes()


def test_a_download_that_was_killed_goes_on_with_the_files_that_lack(hub, published, tmp_path, capsys):
    shards = sorted(path.name for path in (published / f"{QWEN.name}-av").glob("model-*.safetensors"))
    last, half_out = shards[-1], Event()
    hub.stalled[last] = half_out
    code = f"from legible.reading.locate import locate; locate({f'{QWEN.name}-av'!r}, 'none')"
    killed = subprocess.Popen([sys.executable, "-c", code], env=os.environ | client(hub, tmp_path))
    assert half_out.wait(60)
    while not all(_whole(tmp_path, name) for name in shards[:-1]):
        assert killed.poll() is None
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    hub.stalled.clear()
    before = dict(hub.served)
    found = locate(f"{QWEN.name}-av", "none")
    fetched = {name.rpartition("/")[2] for name, sent in hub.served.items() if sent > before.get(name, 0)}
    assert last in fetched
    assert not fetched & set(shards[:-1])
    assert re.search(r"downloading .*-av: .* in \d+ files \([\d.]+ kB of [\d.]+ kB is here\)", capsys.readouterr().err)
    for name in shards:
        assert (found.av / name).read_bytes() == (published / f"{QWEN.name}-av" / name).read_bytes()


def _whole(folder: Path, name: str) -> bool:
    return any((folder / "hf" / "hub").glob(f"models--*/snapshots/*/{name}"))


def test_what_is_in_the_cache_is_read_offline_and_what_is_not_is_said(hub, monkeypatch, tmp_path):
    load_checkpoint(f"{QWEN.name}-av")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    asked = dict(hub.served)
    assert load_checkpoint(f"{QWEN.name}-av").layer == LAYER
    assert hub.served == asked
    with pytest.raises(
        UsageError, match=r"no checkpoint 'kitft/Llama.*HF_HUB_OFFLINE is set and the cache .* holds no"
    ):
        load_checkpoint(f"{LLAMA.name}-av")
    (cached,) = (tmp_path / "hf" / "hub").glob("models--*-av/snapshots/*/model-00001-of-*.safetensors")
    cached.unlink()
    with pytest.raises(UsageError, match=r"only a part of kitft/nla-qwen.*-av is in the cache .*HF_HUB_OFFLINE is set"):
        load_checkpoint(f"{QWEN.name}-av")


def test_a_hub_that_cannot_be_reached_leaves_the_cache(hub, monkeypatch):
    load_checkpoint(f"{QWEN.name}-av")
    for name in ("ENDPOINT", "HUGGINGFACE_CO_URL_TEMPLATE"):
        value = getattr(constants, name)
        monkeypatch.setattr(constants, name, value.replace(hub.url, "http://127.0.0.1:9"))
    assert load_checkpoint(f"{QWEN.name}-av").layer == LAYER
    with pytest.raises(UsageError, match=r"the hub is out of reach and the cache .* does not hold it"):
        load_checkpoint(f"{LLAMA.name}-av")


@pytest.mark.parametrize("token", [None, "hf_some_token"])
def test_a_gated_target_says_where_to_accept_and_how_to_log_in(token, hub, monkeypatch):
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    hub.gated.add(LLAMA.base)
    with pytest.raises(UsageError, match=rf"{LLAMA.base} is gated") as caught:
        load_checkpoint(f"{LLAMA.name}-av")
    assert f"Accept it at {hub.url}/{LLAMA.base}, then log in here: hf auth login" in str(caught.value)


def test_a_mistyped_name_is_not_taken_for_half_a_pair(hub, legible):
    done = legible("read", "kitft/nla-qwen2.5-7b-L21-av", "text")
    assert done.code == 2
    assert done.out == ""
    assert "no checkpoint 'kitft/nla-qwen2.5-7b-L21-av' (the hub has no such repository" in done.err
    assert "OWNER/NAME-av" in done.err


@pytest.fixture
def alone(published, tmp_path) -> Path:
    """A verbalizer without its other half, and its target, in folders."""
    shutil.copytree(published / f"{QWEN.name}-av", tmp_path / "alone" / "org" / "words-av")
    shutil.copytree(published / QWEN.base, tmp_path / "alone" / QWEN.base)
    return tmp_path / "alone"


def test_a_missing_half_is_named_before_anything_is_downloaded(hub, alone):
    hub.root = alone
    with pytest.raises(
        UsageError, match="the reconstructor that belongs to org/words-av would be org/words-ar: the hub has"
    ):
        load_checkpoint("org/words-av")
    assert not hub.served
    found = load_checkpoint("org/words-av", reconstructor="none")
    assert found.reconstructor is None
    assert found.layer == LAYER


def test_a_pair_of_folders_is_found_by_either_and_a_reconstructor_can_be_named(published, tmp_path):
    for role in ("av", "ar"):
        shutil.copytree(published / f"{QWEN.name}-{role}", tmp_path / f"mine-{role}")
    target = str(published / QWEN.base)
    for name in ("mine-av", "mine-ar"):
        found = locate(tmp_path / name)
        assert (found.av, found.ar) == (tmp_path / "mine-av", tmp_path / "mine-ar")
        assert found.kept == tmp_path / "mine-measured"
    (tmp_path / "mine-ar").rename(tmp_path / "other")
    with pytest.raises(
        UsageError, match=r"the reconstructor that belongs to .*mine-av would be .*mine-ar: .*no such folder"
    ):
        locate(tmp_path / "mine-av")
    named = load_checkpoint(tmp_path / "mine-av", target=target, reconstructor=str(tmp_path / "other"))
    assert named.reconstructor.layer == LAYER
    with pytest.raises(UsageError, match="holds the contract of av, expected role ar"):
        locate(tmp_path / "mine-av", str(tmp_path / "mine-av"))
    with pytest.raises(UsageError, match="its name ends in neither av nor ar"):
        locate(tmp_path / "other")
    shutil.copytree(tmp_path / "mine-av", tmp_path / "pair" / "av")
    shutil.copytree(tmp_path / "other", tmp_path / "pair" / "ar")
    for name in ("pair", "pair/av", "pair/ar"):
        assert locate(tmp_path / name).folder == tmp_path / "pair"


def test_names_of_the_other_half():
    assert sibling("kitft/Llama-3.3-70B-NLA-L53-av") == "kitft/Llama-3.3-70B-NLA-L53-ar"
    assert sibling("pairs/ar/") == "pairs/av"
    assert sibling("x_AV") == "x_AR"
    assert [sibling(name) for name in ("org/caviar", "org/solar", "gpt2", "org/lav")] == [None] * 4


def rewritten(folder: Path, **changes: object) -> None:
    file = folder / "nla_meta.yaml"
    data = yaml.safe_load(file.read_text("utf-8"))
    file.write_text(yaml.safe_dump(data | changes, allow_unicode=True), "utf-8")


@pytest.fixture
def mine(published, tmp_path) -> Path:
    """The folders of a pair, to be changed; its target lies where it was published."""
    for role in ("av", "ar"):
        shutil.copytree(published / f"{QWEN.name}-{role}", tmp_path / f"mine-{role}")
        rewritten(tmp_path / f"mine-{role}", base_checkpoint=str(published / QWEN.base))
    return tmp_path / "mine-av"


@pytest.mark.parametrize(
    ("role", "changes"),
    [
        ("av", {"extraction_layer_index": LAYER + 1}),
        ("ar", {"extraction_layer_index": None, "critic": {"num_hidden_layers": LAYER + 2}}),
        ("ar", {"extraction_layer_index": None, "ar": {"extraction_layer_index": LAYER - 1}, "critic": None}),
    ],
)
def test_the_reconstructors_own_config_decides_the_layer_and_no_other_is_believed(role, changes, mine):
    assert load_checkpoint(mine).layer == LAYER
    rewritten(mine.with_name(f"mine-{role}"), **changes)
    with pytest.raises(
        UsageError, match=rf"keeps {LAYER + 1} blocks .* reads layer {LAYER}, but .*mine-{role} says layer"
    ):
        load_checkpoint(mine)


def test_a_sidecar_that_counts_blocks_as_config_json_does_is_read(mine):
    for role in ("av", "ar"):
        rewritten(mine.with_name(f"mine-{role}"), extraction_layer_index=None, critic={"num_hidden_layers": LAYER + 1})
    assert load_checkpoint(mine).layer == LAYER


def test_a_target_that_is_not_there_or_is_no_target_is_said(mine, published):
    rewritten(mine, base_checkpoint=str(published / f"{QWEN.name}-av"))
    rewritten(mine.with_name("mine-ar"), base_checkpoint=None)
    with pytest.raises(UsageError, match="itself half a pair, not the target"):
        load_checkpoint(mine)
    rewritten(mine, base_checkpoint="/nowhere/model")
    with pytest.raises(UsageError, match="names the target /nowhere/model: there is no such folder") as caught:
        load_checkpoint(mine)
    assert "--target DIR" in str(caught.value)
    rewritten(mine, base_checkpoint=None)
    with pytest.raises(UsageError, match="the contracts name no target"):
        load_checkpoint(mine)
    assert load_checkpoint(mine, target=str(published / QWEN.base)).target.d_model == WIDTH


def test_a_model_is_loaded_by_name_and_a_tokenizer_without_the_weights(hub):
    from legible.models.loading import load_tokenizer

    load_tokenizer(QWEN.base)
    assert not [name for name in hub.served if name.endswith(".safetensors")]
    assert Target.load(QWEN.base).name == QWEN.base


def test_ids_past_the_vocabulary_have_an_empty_text(hub):
    target = Target.load(QWEN.base)
    texts = token_texts(target)
    assert len(target.tokenizer) < len(texts) == target.arch.embedding.num_embeddings
    assert set(texts[len(target.tokenizer) :]) == {""}


@pytest.fixture
def texts(tmp_path) -> Path:
    """A corpus of the twins' words, long enough to be read from token 50 on."""
    words, rng = sorted(set(TEXT.split())), random.Random(0)
    lines = [json.dumps({"text": " ".join(rng.choices(words, k=70))}) for _ in range(60)]
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    return tmp_path / "texts.jsonl"


def test_without_v_the_table_shows_what_needs_none_and_says_what_is_missing(mine, legible):
    told = " ".join(legible("read", str(mine), TEXT, "--positions", "60").out.split())
    assert re.search(r"pos token explanation mse centred flags 60 .* [0-3]\.\d\d -?[01]\.\d\d", told)
    assert "FVE" not in told.split("no FVE:")[0]
    assert "Measure it once: legible calibrate CHECKPOINT --variance --corpus FILE" in told
    assert "no p_true in 1 of 1 readings: no language decides what is true in free text" in told
    short = json.loads(legible("read", str(mine), "The cat", "--positions", "-1", "--json").out)
    assert short["direction_mse"] is not None
    assert "centered_cosine" not in short


def test_the_centred_cosine_is_taken_about_the_mean_of_the_text(mine):
    reader = load(mine)
    reading = reader.read(TEXT, positions="60")[0]
    stream = reader.prepare(Document("", TEXT)).stream
    usual = ~norm_outliers(stream.norm(dim=-1))
    mean = unit(stream[usual]).mean(0)
    back = reader.checkpoint.reconstructor.reconstruct([SAID])[0]
    a, b = unit(back) - mean, unit(stream[60]) - mean
    assert reading.centered_cosine == pytest.approx(float(a @ b / (a.norm() * b.norm())), abs=1e-5)


def test_v_and_the_lookup_are_measured_once_and_kept_beside_a_pair_of_folders(mine, texts, legible):
    done = legible("calibrate", str(mine), "--variance", "--corpus", str(texts), "--json")
    kept = mine.with_name("mine-measured")
    assert sorted(path.name for path in kept.iterdir()) == ["lookup.safetensors", "variance.json"]
    assert not kept.with_name(".mine-measured.measuring").exists()
    found, told = load_checkpoint(mine), json.loads(done.out)
    documents = [document for document in read_corpus(texts) if split_of(document.doc_id) == "train"]
    config = CaptureConfig(layers=(LAYER,), dtype="float32")
    store = capture(found.target, documents, config, mine.with_name("again"))
    v = variance(store.vectors(range(len(store)), LAYER))
    assert found.variance == told["value"] == pytest.approx(v, abs=1e-5)
    assert (told["n"], told["documents"]) == (len(store), len(documents))
    assert found.lookup is not None
    reading = package.load(mine).read(TEXT, positions="60")[0]
    assert reading.fve_token == pytest.approx(1 - reading.direction_mse / v, abs=1e-4)
    assert reading.centered_cosine is None
    again = legible("calibrate", str(mine), "--variance")
    assert "measured before" in again.err
    report = json.loads(legible("evaluate", str(mine), "--corpus", str(texts), "--documents", "4", "--json").out)
    assert report["context_fve"]["n"] > 0


def test_what_is_measured_of_a_pair_on_the_hub_is_kept_by_its_targets_content(hub, texts, tmp_path, legible):
    name = f"{QWEN.name}-av"
    legible("calibrate", name, "--variance", "--corpus", str(texts))
    (kept,) = (tmp_path / "cache" / "legible" / "measured").iterdir()
    assert kept.name.endswith(f"-L{LAYER}")
    v = load_checkpoint(name).variance
    assert v is not None
    done = legible("calibrate", name, "--variance", "--corpus", str(texts), "--out", str(tmp_path / "copy"))
    assert done.code == 0
    assert load_checkpoint(tmp_path / "copy").variance == v
    assert not (tmp_path / "copy" / "av" / "model.safetensors.index.json").is_symlink()
    assert "records its variance" in legible("calibrate", "builtin", "--variance").err


def test_v_of_another_target_is_refused(mine, texts, published, legible):
    legible("calibrate", str(mine), "--variance", "--corpus", str(texts))
    file = mine.with_name("mine-measured") / "variance.json"
    told = json.loads(file.read_text())
    file.write_text(json.dumps(told | {"target": "0" * 16}))
    with pytest.raises(UsageError, match=r"was measured on another target or layer"):
        load_checkpoint(mine)
    file.write_text("{")
    with pytest.raises(UsageError, match=r"variance.json cannot be used"):
        load_checkpoint(mine)


def test_a_target_of_another_name_is_read_with_a_warning_in_every_reading(published, capsys):
    qwen, gemma = published / f"{QWEN.name}-av", TWINS["gemma12"].base
    reader = package.load(qwen, target=str(published / QWEN.base))
    assert "warning" not in capsys.readouterr().err
    assert "other_target" not in reader.about()
    assert all("other_target" not in reading.flags for reading in reader.read(TEXT, positions="60"))
    reader = package.load(qwen, target=str(published / gemma))
    warning = reader.about()["other_target"]
    assert QWEN.base in warning
    assert gemma in warning
    assert warning in capsys.readouterr().err
    assert reader.about()["target"] == str(published / gemma)
    assert all("other_target" in reading.flags for reading in reader.read(TEXT, positions="60"))


def test_a_target_of_another_width_is_refused_by_its_config_alone(published, hub, tmp_path):
    config = json.loads((published / QWEN.base / "config.json").read_text())
    hub.root = tmp_path / "other"
    wide = hub.root / "someone" / "wide"
    for folder in (tmp_path / "wide", wide):
        folder.mkdir(parents=True)
        (folder / "config.json").write_text(json.dumps(config | {"hidden_size": 64}))
    (wide / "model.safetensors").write_bytes(b"not one byte of this is asked for")
    for name in (str(tmp_path / "wide"), "someone/wide"):
        with pytest.raises(UsageError, match=rf"width {WIDTH}, but .* has 64.*\n.*{QWEN.base}"):
            load_checkpoint(published / f"{QWEN.name}-av", target=name)
    assert not hub.served.get("someone/wide/model.safetensors")
