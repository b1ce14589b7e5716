"""The closed sets of the text language: every value that its kinds can have, where they can be listed."""

from legible.languages.text.nouns import ACCEPTED

TOPICS = (
    "arts", "biology and health", "everyday life", "geography", "history", "mathematics", "people",
    "philosophy and religion", "physical science", "society", "technology",
)  # fmt: skip
TEXTS = (
    "advertisement", "blog post", "chat", "children's story", "email", "encyclopedia article", "essay", "humour piece",
    "instruction", "interview", "law", "letter", "news report", "novel", "play", "poem", "religious text", "review",
    "scientific paper", "speech", "tweet",
)  # fmt: skip
LANGUAGES = ("Dutch", "English", "French", "German", "Italian", "Portuguese", "Spanish")
SENTIMENTS = ("negative", "neutral", "positive")
TENSES = ("future", "past", "present")
SPEAKERS = ("assistant", "nobody", "system", "tool", "user")
CERTAINTIES = ("sure", "torn", "undecided")

CLOSED: dict[str, tuple[str, ...]] = {
    "kind": TEXTS,
    "language": LANGUAGES,
    "topic": TOPICS,
    "about": tuple(ACCEPTED),
    "sentiment": SENTIMENTS,
    "tense": TENSES,
    "speaker": SPEAKERS,
    "certainty": CERTAINTIES,
}
_MASS = "food mathematics medicine music people radiation software"
MASS = frozenset(_MASS.split())
"""Values that take no article."""
_YES_OR_NO = (
    "in_quote in_bracket in_list in_code in_question will_list will_ask will_refuse will_end will_code will_quote "
    "will_number will_place will_person will_yes will_no will_line"
)
YES: dict[str, tuple[str, str]] = {kind: ("yes", "no") for kind in _YES_OR_NO.split()}
"""Kinds that hold or do not: a sentence affirms "yes", its denial denies it."""
UNSAID = {**{kind: "no" for kind in YES}, "speaker": "nobody", "certainty": "undecided", "language": "English"}
"""What no teacher states, since it holds of nearly every token."""
