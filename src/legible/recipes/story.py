"""What the built-in world knows of one of its stories, as plain JSON."""

from typing import Any

from legible.documents import Document
from legible.languages.world import WorldLanguage, build_tokenizer, story
from legible.reading.rows import rows_of


def story_report(document: Document) -> dict[str, Any]:
    """State, statements and the status of every fact at every token of a story.

    Args:
        document: a story, as `legible.languages.world.story_document` makes it.

    Returns:
        `doc_id`, `text`, `layout`, `nats` (the generator's code length; null for a few sentences), `state`,
        `statements`, `facts` (at the end) and `tokens`: for each its `pos`, `token`, `char_end` and
        `facts` {kind: {"status", "values"}}. A value other than the fact's is false.
    """
    told = story(document.doc_id)
    language = WorldLanguage()
    tokenizer = build_tokenizer()
    encoded = tokenizer(document.text, return_offsets_mapping=True)
    tokens = []
    for row in rows_of(document, encoded["input_ids"], encoded["offset_mapping"]):
        facts = {kind: {"status": f.status, "values": list(f.values)} for kind, f in language.facts(row).items()}
        text = document.text[slice(*encoded["offset_mapping"][row.pos])]
        tokens.append({"pos": row.pos, "token": text, "char_end": row.char_end, "facts": facts})
    return {
        "doc_id": told.doc_id,
        "text": told.text,
        "layout": told.layout,
        "nats": language.entropy(document),
        "state": told.state,
        "statements": [
            {"char_end": s.char_end, "kind": s.kind, "value": s.value, "status": "implied" if s.implied else "stated"}
            for s in told.statements
        ],
        "facts": tokens[-1]["facts"],
        "tokens": tokens,
    }
