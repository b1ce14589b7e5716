"""Word lists behind the facts of ordinary text: feelings, places, things, beings, and words without content.

Plain data. A list decides what a fact is about ("the last feeling word so far"), never whether it is true.
"""

from legible.languages.surface import COMMON


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


FEELINGS = _words(
    "happy sad scared afraid angry mad excited proud sorry upset worried lonely tired hungry thirsty curious "
    "surprised brave bored shy glad hurt sick sleepy confused jealous grateful thankful relieved nervous cheerful "
    "calm disappointed ashamed joyful grumpy amazed frightened embarrassed delighted pleased content anxious "
    "miserable furious gloomy envious"
)
PLACES = _words(
    "park room house home garden forest woods beach sea ocean lake river pond store shop market school kitchen "
    "yard backyard farm town city village zoo castle street road hill mountain cave field playground library "
    "bedroom bathroom jungle island barn church office hospital hotel tower bridge shore meadow valley desert "
    "station garage attic basement nest palace court prison harbour"
)
THINGS = _words(
    "toy toys ball hat car doll book box tree flower flowers cake boat truck bike train kite bed door swing slide "
    "rock rocks stick leaf leaves apple banana cookie cookies ice cream food soup bread milk water fire snow rain "
    "wind sun moon star stars cloud clouds dress shirt shoe shoes coat sock button needle bag basket bottle cup "
    "bowl pot plate spoon knife table chair lamp mirror clock key ring crown coin money letter picture pictures "
    "paper pen pencil crayon crayons paint blocks puzzle balloon balloons drum bell horn computer phone camera "
    "window wall fence gate ladder rope net shell shells egg eggs seed seeds grass wheel plane rocket ship hole "
    "mud treasure map gift present candy chocolate pizza lemon orange carrot berries blanket pillow scarf "
    "umbrella game song race noise wood tower sword hammer gun newspaper carriage horsewhip sofa desk"
)
BEINGS = _words(
    "mom mommy mum mummy mother mama dad daddy father papa grandma grandpa girl boy girls boys man men woman "
    "women lady baby child kid kids children brother sister friend friends family parents teacher doctor nurse "
    "police farmer king queen princess prince people dog dogs puppy cat cats kitten kitty bird birds fish frog "
    "bear rabbit bunny mouse mice fox lion tiger elephant monkey duck ducks cow horse pig sheep goat squirrel "
    "butterfly bee bees ant ants spider bug bugs worm snake turtle owl dragon fairy monster witch wizard robot "
    "teddy giant ghost pirate animal animals son daughter uncle aunt cousin husband wife neighbour gentleman "
    "captain whale shark crab dinosaur unicorn deer wolf bat parrot hen chicken"
)
PRONOUNS = {
    word: subject
    for subject, forms in {
        "he": "he him his himself",
        "she": "she her hers herself",
        "they": "they them their theirs themselves",
    }.items()
    for word in forms.split()
}
NOT_NAMES = (
    COMMON
    | FEELINGS
    | PLACES
    | THINGS
    | _words(
        "inside outside together everyone nobody wow yay ouch yum great sure well come look stop wait help yes no "
        "don good bad slowly quickly luckily sadly happily unfortunately today tomorrow yesterday morning night "
        "god lord chapter volume every both many instead despite although whenever wherever nothing everything "
        "everywhere somewhere try keep be are is were have has had can play start share take give find remember "
        "welcome goodbye bye dear hooray hurray sometimes people children kids friends moral the"
    )
)
