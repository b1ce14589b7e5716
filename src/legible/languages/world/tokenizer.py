"""The world's tokenizer: one piece a word, UTF-8 bytes for everything else, nothing to train.

A `Unigram` model over the words of the stories and explanations with byte fallback, so that any text can be read;
whitespace of every sort counts as one space.
"""

import re
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import PreTrainedTokenizerFast

from legible.languages.world import english, forms, lexicon

SPECIALS = ("<pad>", "<s>", "</s>", "<unk>")
PUNCTUATION = ".,!?;:-'"


@cache
def words() -> tuple[str, ...]:
    """Every word of stories and explanations as it is spelt, sorted."""
    texts = [*forms.FILLERS, *forms.MOVE, *forms.SEEN, *forms.UNSEEN, "He She he she his her him end mid"]
    texts += [
        form
        for table in (forms.INTRO, forms.STATE, forms.REMINDERS, forms.RECAP)
        for group in table.values()
        for form in group
    ]
    texts += [
        "Dear reader Chapter one two Hear me says the teller Yours truly That is all Entry",
        *english.SUBJECTS,
        *english.NAMED,
    ]
    said = [wording for group in (*english.FRAGMENTS.values(), *english.EDGES.values()) for wording in group]
    texts += [*said, *(wording[0].upper() + wording[1:] for wording in (*said, english.UNKNOWN))]
    texts += [english.UNKNOWN, *lexicon.KINDS, *(value for kind in lexicon.KINDS for value in lexicon.VALUES[kind])]
    return tuple(sorted({word for text in texts for word in re.findall(r"[A-Za-z]+", re.sub(r"\{\w+\}", " ", text))}))


def content_words() -> tuple[str, ...]:
    """The words that carry facts: what the future-bag loss predicts."""
    return tuple(dict.fromkeys(value for kind in lexicon.KINDS for value in lexicon.VALUES[kind]))


def build_tokenizer(context: int = 288) -> PreTrainedTokenizerFast:
    """The tokenizer, with `<s>` put before every text; `context` is its recorded maximal length in tokens."""
    pieces = [
        *SPECIALS,
        *(f"<0x{byte:02X}>" for byte in range(256)),
        "▁",
        *PUNCTUATION,
        *(f"▁{word}" for word in words()),
    ]
    scores = [0.0] * len(SPECIALS) + [-20.0] * 256 + [-8.0] + [-2.0] * len(PUNCTUATION) + [-4.0] * len(words())
    tokenizer = Tokenizer(models.Unigram(list(zip(pieces, scores, strict=True)), unk_id=3, byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Replace(Regex(r"\s+"), " "), normalizers.Strip()])
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(replacement="▁", prepend_scheme="always", split=True)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", 1)]
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token="<s>", eos_token="</s>", unk_token="<unk>", pad_token="<pad>",
        model_max_length=context, clean_up_tokenization_spaces=False,
    )  # fmt: skip
