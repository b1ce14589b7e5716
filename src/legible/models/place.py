"""Where a model lies, and its tokenizer: what is wrong with a place is said before transformers tries it."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from huggingface_hub import HfApi, try_to_load_from_cache
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging
from transformers.utils.hub import cached_file

from legible.errors import UsageError
from legible.fileio import refuse_pointer

TOKENIZER = "tokenizer.json"
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")
HUB_WAIT = 10.0
"""Seconds to wait for the hub's first answer."""


def check_place(name: str, revision: str | None = None) -> None:
    """Refuse, before transformers tries it, what is no model directory and no model of the hub.

    Raises:
        UsageError: no such folder or hub name, or a directory without config.json or safetensors.
    """
    path = Path(name)
    if not path.is_dir():
        check_name(name, revision)
        return
    if not (path / "config.json").is_file():
        raise UsageError(
            f"no config.json in {path}: not a model directory.\n  Expected a Hugging Face model directory."
        )
    with (path / "config.json").open("rb") as handle:
        if handle.read(3) == BOM_UTF8:
            raise UsageError(
                f"{path}/config.json begins with a byte-order mark, which transformers does not read.\n"
                "  The usual cause is an editor. Save it as UTF-8 without one."
            )
    weights = list(path.glob("*.safetensors"))
    if not weights:
        pickles = sorted(p.name for pattern in ("*.bin", "*.pt", "*.pth", "*.ckpt") for p in path.glob(pattern))
        found = f"only pickle weights ({', '.join(pickles)})" if pickles else "no weights"
        raise UsageError(
            f"{path} holds {found}, expected safetensors: pickle files can run code when loaded.\n"
            "  Convert them where you trust them: load with transformers, then save_pretrained(DIR)."
        )
    for file in weights:
        refuse_pointer(file)


def check_name(name: str, revision: str | None = None) -> None:
    """Refuse at once a name that is neither a folder nor a model of the hub: transformers tries for long.

    Raises:
        UsageError: nothing of that name.
    """
    if Path(name).is_dir():
        return
    if not hub_name(name):
        raise unknown(name, "that is no hub name")
    if not is_kept(name, revision):
        try:
            HfApi().model_info(name, revision=revision, timeout=HUB_WAIT)
        except Exception as error:  # the hub's client raises those of its HTTP library too
            raise unknown(name, f"the hub gives no such model: {one_line(error)}") from error


def hub_name(name: str) -> bool:
    """Whether a name may be that of a model of the hub."""
    return not (Path(name).is_absolute() or name.startswith(".") or name.count("/") > 1)


def is_kept(name: str, revision: str | None) -> bool:
    """Whether a model of the hub was loaded before, so that the hub need not be asked."""
    try:
        kept = (try_to_load_from_cache(name, file, revision=revision) for file in ("config.json", TOKENIZER))
        return any(isinstance(path, str) for path in kept)
    except ValueError:  # no name that a model of the hub can have
        return False


def unknown(name: str, reason: str) -> UsageError:
    """The error of a name that is neither a folder nor a model of the hub."""
    return UsageError(
        f"no directory at {name}: there is no such folder, and {reason}.\n"
        "  Expected a model directory or a hub name such as OWNER/MODEL. The usual cause is a mistyped path.\n"
        "  Targets with a name of their own: legible target list"
    )


def tokenizer_as_written(name: str, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of transformers; where its class makes another one of tokenizer.json, the file's own.

    Args:
        name: directory or hub name.
        options: of transformers.

    Raises:
        UsageError: no class takes it as the file has it.
        Exception: any kind, of tokenizers and transformers: nothing there, or a file that they cannot use.
    """
    file = cached_file(name, TOKENIZER, revision=options.get("revision"), _raise_exceptions_for_missing_entries=False)
    if file is None:  # an older format, which transformers converts
        return AutoTokenizer.from_pretrained(name, **options)  # type: ignore[no-any-return]
    refuse_pointer(Path(file))
    written = Tokenizer.from_file(file)
    written.post_processor = written.post_processor or TemplateProcessing(single="$A", pair="$A $B:1")  # as none
    found: Any = AutoTokenizer.from_pretrained(name, **options)
    if not found.is_fast or _rules(found.backend_tokenizer) == _rules(written):
        return found  # type: ignore[no-any-return]
    special = {token.content for token in written.get_added_tokens_decoder().values()}
    known: Any = {key: token for key in _NAMED if (token := getattr(found, key)) in special}  # a class's own defaults
    plain: Any = PreTrainedTokenizerFast.from_pretrained(name, **known, **options)
    plain.backend_tokenizer.post_processor = written.post_processor  # add_bos_token and its like may have made another
    if _rules(plain.backend_tokenizer) != _rules(written):
        raise UsageError(
            f"the tokenizer of {name!r} gives other ids than its {TOKENIZER}.\n"
            "  The usual cause is a tokenizer_config.json that adds tokens. Where it is right, write the file anew:\n"
            "  AutoTokenizer.from_pretrained(DIR).save_pretrained(DIR)"
        )
    return plain  # type: ignore[no-any-return]


def _rules(tokenizer: Tokenizer) -> str:
    """Everything that decides ids, as JSON."""
    tokenizer.no_truncation()  # both are set anew for every text
    tokenizer.no_padding()
    return str(tokenizer.to_str())


def one_line(error: Exception) -> str:
    """What an error of another library says, on one line."""
    said = f"{error} is unknown to it" if isinstance(error, KeyError) else str(error)
    return f"{type(error).__name__}: {' '.join(said.split())[:300]}"


@contextmanager
def quietly() -> Iterator[None]:
    """transformers writes a bar for every load; stderr is ours."""
    shown = logging.is_progress_bar_enabled()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        if shown:
            logging.enable_progress_bar()
