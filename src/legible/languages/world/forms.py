"""Sentence forms of the built-in world: every third wording of a list is held out for test documents.

Slots in braces are kinds of facts; `{he}`, `{He}`, `{his}` follow the hero's name. Lists have a multiple of three
entries, so that a third is held out exactly.
"""

INTRO: dict[tuple[str, ...], tuple[str, ...]] = {
    ("name", "species"): (
        "Once there lived a {species} called {name}.",
        "This is the story of {name} the {species}.",
        "Listen to the tale of a {species} named {name}.",
        "People still talk about {name}, a {species}.",
        "Long ago a {species} by the name of {name} set out.",
        "Nobody forgot {name}, the old {species}.",
    ),
    ("name", "place"): (
        "{name} came to the {place}.",
        "One day {name} walked through the {place}.",
        "Far away at the {place} stood {name}.",
        "{name} had just reached the {place}.",
        "It was at the {place} that {name} stopped.",
        "Our hero {name} rested beside the {place}.",
    ),
    ("name", "time"): (
        "At {time} {name} woke up.",
        "{name} left home at {time}.",
        "It was {time} when {name} appeared.",
        "Around {time} {name} opened both eyes.",
        "By {time} {name} was on the road.",
        "When {time} came, {name} stood up.",
    ),
}

STATE = {
    "species": (
        "{name} was a {species}.",
        "Like all the family, {he} was a {species}.",
        "Everyone could see that {name} was a {species}.",
        "{He} worked and lived as a {species}.",
        "For years {name} had been a {species}.",
        "Strangers called {his} kind a {species}.",
    ),
    "place": (
        "{He} was at the {place}.",
        "All this happened near the {place}.",
        "The {place} lay before {name}.",
        "{name} stayed close to the {place}.",
        "The road ended at the {place}.",
        "{He} looked across the quiet {place}.",
    ),
    "time": (
        "It was {time} by then.",
        "The clock said it was {time}.",
        "Already {time} had come.",
        "Soon it would be past {time}.",
        "The hour was {time}.",
        "A rooster announced {time}.",
    ),
    "weather": (
        "There was {weather} everywhere.",
        "The {weather} did not stop.",
        "The sky brought {weather} again.",
        "{name} noticed the {weather} outside.",
        "Heavy {weather} covered the land.",
        "What terrible {weather} that was.",
    ),
    "mood": (
        "{name} felt {mood}.",
        "{He} was in a {mood} mood.",
        "Deep inside {name} was {mood}.",
        "Most of the time {he} was {mood}.",
        "A {mood} heart was beating in {name}.",
        "{name} had grown rather {mood}.",
    ),
    "holds": (
        "{He} carried a {holds}.",
        "In one hand {name} held a {holds}.",
        "{name} owned a {holds}.",
        "A {holds} hung from {his} belt.",
        "{He} never left without the {holds}.",
        "{name} kept a {holds} in the pocket.",
    ),
    "want": (
        "{name} wanted the {want}.",
        "{He} dreamed of the {want}.",
        "More than anything {he} wished for the {want}.",
        "The {want} was all {name} thought about.",
        "{name} longed to have the {want}.",
        "How much {he} desired the {want}.",
    ),
    "friend": (
        "{friend} was a {relation} of {name}.",
        "{name} had a {relation} called {friend}.",
        "Not far away lived {friend}, {his} {relation}.",
        "With {name} went {friend}, a {relation}.",
        "{friend}, the {relation}, greeted {name}.",
        "Then {his} {relation} {friend} arrived.",
    ),
    "spot": (
        "The {want} lay in the {spot}.",
        "Somebody kept the {want} in the {spot}.",
        "The {want} was hidden inside the {spot}.",
        "In the {spot} there was the {want}.",
        "You could find the {want} in the {spot}.",
        "They stored the {want} in the {spot}.",
    ),
    "gear": (
        "So {name} put on the {gear}.",
        "{He} was wearing a {gear} for that reason.",
        "Of course {he} took the {gear} along.",
        "A warm {gear} helped {name}.",
        "{name} pulled the {gear} tighter.",
        "Luckily the {gear} fitted {name}.",
    ),
    "plan": (
        "{name} decided to {plan} the {want}.",
        "{He} would try to {plan} it.",
        "The secret idea was to {plan} the {want}.",
        "Quietly {name} prepared to {plan} it.",
        "Tomorrow {he} was going to {plan} the {want}.",
        "{name} saw no other way than to {plan} it.",
    ),
    "belief": (
        "{name} believed it was in the {belief}.",
        "{He} went to look in the {belief}.",
        "{name} thought about the {belief} where it must be.",
        "{He} searched the {belief} for it.",
        "{name} was sure to find it inside the {belief}.",
        "In {his} opinion it was in the {belief}.",
    ),
}

UNSEEN = ("While {name} slept", "Behind the back of {name}", "When {name} was away",
          "As {name} looked elsewhere", "Without telling {name}", "Unseen by {name}")  # fmt: skip
SEEN = ("While {name} watched", "Before the eyes of {name}", "When {name} was looking",
        "As {name} saw clearly", "After telling {name}", "In full view of {name}")  # fmt: skip
MOVE = (
    "{witness}, {friend} moved the {want} to the {moved}.",
    "{witness}, {friend} carried the {want} into the {moved}.",
    "{witness}, {friend} took the {want} off to the {moved}.",
    "{witness}, the {want} was brought by {friend} to the {moved}.",
    "{witness}, {friend} dropped the {want} down the {moved}.",
    "{witness}, {friend} laid the {want} away in the {moved}.",
)

REMINDERS: dict[tuple[str, ...], tuple[str, ...]] = {
    ("name", "species"): (
        "Yes, {name} was still a {species}.", "Remember that {name} was a {species}.", "So said {name} the {species}."),
    ("place", "time"): (
        "The {place} was calm at {time}.", "Such was {time} at the {place}.", "At {time} few visit the {place}."),
    ("mood", "weather"): (
        "The {weather} made {name} more {mood}.", "Still {mood}, {he} watched the {weather}.",
        "Even in {weather} {he} stayed {mood}."),
    ("holds", "want"): (
        "{He} held the {holds} and thought of the {want}.", "With a {holds} one hardly gets a {want}.",
        "The {holds} was nice but the {want} was better."),
    ("friend", "relation"): (
        "{friend} the {relation} smiled.", "{name} asked {friend}, the {relation}.",
        "What would a {relation} like {friend} say?"),
}  # fmt: skip

RECAP: dict[tuple[str, ...], tuple[str, ...]] = {
    ("name", "species", "mood", "place"): (
        "So {name} the {species} was {mood} at the {place}.",
        "In short, a {mood} {species} named {name} was at the {place}.",
        "Thus at the {place} {name} was a {mood} {species}."),
    ("time", "weather", "gear", "holds"): (
        "It was {time} with {weather}, a {gear} and a {holds}.",
        "At {time} in the {weather} {he} had a {gear} and a {holds}.",
        "There were {weather} at {time}, the {holds} and the {gear}."),
    ("friend", "relation", "want", "spot"): (
        "{friend} the {relation} knew the {want} was in the {spot}.",
        "The {want} rested in the {spot}, as {relation} {friend} knew.",
        "In the {spot} was the {want}, said {friend} the {relation}."),
    ("belief", "plan"): (
        "{name} believed in the {belief} and would {plan}.",
        "{He} would {plan} and look in the {belief}.",
        "{name} thought of the {belief}, ready to {plan}."),
}  # fmt: skip

CLOZES = {
    "name": "This is the story of", "species": "{name} was a", "place": "All this happened near the", "time": "It was",
    "weather": "The sky brought", "mood": "{name} felt", "holds": "{name} owned a", "want": "{name} wanted the",
    "friend": "Not far away lived", "relation": "{name} had a", "spot": "Somebody kept the {want} in the",
    "belief": "{name} believed it was in the", "plan": "Tomorrow {he} was going to", "gear": "So {name} put on the",
}  # fmt: skip
"""Beginnings of sentences as stories tell them, up to the value."""

FILLERS = (
    "A dog barked somewhere behind the houses.", "Two crows circled above an empty field.",
    "The river sounded louder than yesterday.", "Smoke rose slowly from many roofs.",
    "Children played with stones under a tree.", "An owl called three times.",
    "Nobody spoke a single word.", "Leaves danced over the dusty path.",
    "The moon hid its pale face.", "Some people sang an ancient song.",
    "A cart rolled past with squeaking wheels.", "Fish jumped out of cold water.",
    "Every window shone in yellow light.", "The grass smelled fresh and sweet.",
    "Grandmother once told stories like these.", "A cat crossed the narrow street.",
    "Bees hummed among white flowers.", "The king had sent no letters.",
    "Far hills turned blue and grey.", "Old walls keep strange secrets.",
    "Money was rare in those days.", "A ship with red sails passed.",
    "Three geese ran toward the fence.", "The floor creaked at every step.",
    "Spiders spun silver threads all around.", "Someone knocked twice and vanished.",
    "The soup on the fire boiled over.", "Sheep slept beside a broken gate.",
    "Time moves slowly in small towns.", "A green frog sat on wet moss.",
)  # fmt: skip

LAYOUTS = ("prose", "list", "letter", "teller", "chapter", "log")
HELD_OUT_LAYOUT = "log"
