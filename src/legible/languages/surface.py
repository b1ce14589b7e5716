"""What languages show of a text's own surface: its last words, and tokenizer pieces as words.

Definitions that several languages share; nothing here knows what is true.
"""

GAP = "_"
"""In the place of a word that is left unsaid."""
NEW_LINE = "/"
"""How a line break is written."""
_LONGEST_CHUNK = 24


def last_chunks(prefix: str, n: int) -> list[str]:
    """The last n stretches of a text between spaces; a line break stands for itself, as `/`."""
    return prefix[-400:].replace("\n", f" {NEW_LINE} ").split()[-n:]


def plain(chunk: str) -> str:
    """A chunk as the language writes it: at most its last 24 characters, the gap sign never by itself."""
    return "-" if chunk == GAP else chunk[-_LONGEST_CHUNK:]


def piece_value(piece: str) -> str:
    """A tokenizer's piece as a word: `-ing` continues a word, `/` is a line break, empty when nothing can be shown.

    Accepts the raw pieces of common tokenizers (`▁the`, `Ġthe`, `<0x0A>`) and decoded text (` the`).
    """
    piece = piece.replace("<0x0A>", "\n").replace("Ċ", "\n")
    if "\n" in piece:
        return NEW_LINE
    head = piece[:1] in ("▁", "Ġ", " ")
    word = "".join(piece.replace("▁", " ").replace("Ġ", " ").split())
    return word if head or not word[:1].isalnum() else f"-{word}"


_SMALL = (
    "a an the this that these those i you he she it we they me him her us them my your his its our their mine "
    "yours hers ours theirs myself yourself himself herself itself themselves who whom whose which what when "
    "where why how and or but nor so yet if then than because while until unless although though as since before "
    "after at by for from in into of off on onto out over to up with without about above across against along "
    "among around behind below beneath beside between beyond down during except inside like near outside past "
    "through toward towards under upon within am is are was were be been being do does did done doing have has "
    "had having can could may might must shall should will would not no yes oh ah hey hi hello ok okay please "
    "thank thanks here there now soon again also always never ever once just only even still too very really "
    "quite much many more most some any all each every both few other another such same own one two three four "
    "five first last next new let lets get got go goes going went gone come came coming say says said saying tell "
    "told ask asked make made take took put see saw know knew think thought want wanted look looked suddenly "
    "finally eventually maybe perhaps however meanwhile later day time way thing things lot lots something "
    "anything nothing everything someone anyone everyone nobody somebody mr mrs ms dr st don't didn't doesn't "
    "can't couldn't won't wouldn't isn't wasn't aren't weren't i'm you're it's that's let's there's i'll we'll "
    "he's she's they're what's end little big good back able"
)
COMMON = frozenset(_SMALL.split())
"""Words that carry no topic of their own."""
