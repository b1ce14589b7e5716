"""A model's folder and its tokenizer: what is wrong with a place is said before transformers tries it."""

from codecs import BOM_UTF8
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from transformers import AutoTokenizer, PreTrainedTokenizerBase, PreTrainedTokenizerFast
from transformers.utils import logging

from legible.errors import UsageError
from legible.fileio import refuse_pointer

TOKENIZER = "tokenizer.json"
_NAMED = ("bos_token", "eos_token", "unk_token", "pad_token")


def check_place(path: Path) -> None:
    """Refuse, before transformers tries it, what is no model directory.

    Raises:
        UsageError: a directory without config.json or safetensors.
    """
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
        problem = f"only pickle weights ({', '.join(pickles)})" if pickles else "no weights"
        raise UsageError(
            f"{path} holds {problem}, expected safetensors: pickle files can run code when loaded.\n"
            "  Convert them where you trust them: load with transformers, then save_pretrained(DIR)."
        )
    for file in weights:
        refuse_pointer(file)


def tokenizer_as_written(folder: Path, options: Mapping[str, Any]) -> PreTrainedTokenizerBase:
    """The tokenizer of transformers; where its class makes another one of tokenizer.json, the file's own.

    Args:
        folder: the model's.
        options: of transformers.

    Raises:
        UsageError: no class takes it as the file has it.
        Exception: any kind, of tokenizers and transformers: nothing there, or a file that they cannot use.
    """
    file = folder / TOKENIZER
    if not file.is_file():  # an older format, which transformers converts
        return AutoTokenizer.from_pretrained(folder, **options)  # type: ignore[no-any-return]
    refuse_pointer(file)
    written = Tokenizer.from_file(str(file))
    written.post_processor = written.post_processor or TemplateProcessing(single="$A", pair="$A $B:1")  # as none
    tokenizer: Any = AutoTokenizer.from_pretrained(folder, **options)
    if not tokenizer.is_fast or _rules(tokenizer.backend_tokenizer) == _rules(written):
        return tokenizer  # type: ignore[no-any-return]
    special = {token.content for token in written.get_added_tokens_decoder().values()}
    known: Any = {key: token for key in _NAMED if (token := getattr(tokenizer, key)) in special}  # a class's defaults
    plain: Any = PreTrainedTokenizerFast.from_pretrained(folder, **known, **options)
    plain.backend_tokenizer.post_processor = written.post_processor  # add_bos_token and its like may have made another
    if _rules(plain.backend_tokenizer) != _rules(written):
        raise UsageError(
            f"the tokenizer in {folder} gives other ids than its {TOKENIZER}.\n"
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
def quietly(*, report: bool = True) -> Iterator[None]:
    """transformers writes a bar for every load; stderr is ours. `report`: it may list weights that do not fit."""
    shown, verbosity = logging.is_progress_bar_enabled(), logging.get_verbosity()
    logging.disable_progress_bar()
    if not report:
        logging.set_verbosity_error()
    try:
        yield
    finally:
        logging.set_verbosity(verbosity)
        if shown:
            logging.enable_progress_bar()
