"""The kinds of things that a text may be about: 300 nouns at most, and for each which others are true of it, too.

The nouns are those that stand most often as the head of a Wikipedia short description. What is accepted for what is
WordNet's: every noun of the list that WordNet 3.1 calls a hypernym, or a synonym, of the sense meant, but for a few
vague ones (`scripts/make_nouns.py`).

WordNet 3.1 Copyright 2011 by Princeton University, used by its licence: https://wordnet.princeton.edu/license-and-commercial-use
"""


def _accepted(table: str) -> dict[str, tuple[str, ...]]:
    lines = (line.partition(":") for line in table.split("\n") if line)
    return {noun: tuple(above.split()) for noun, _, above in lines}


_TABLE = """
acid: material substance
activity: event
actor: person
actress: actor person
aircraft: vehicle
album:
alloy: mixture substance
animal:
archipelago:
architect: person
area:
artist: person
association: group organization
astronomer: person physicist scientist
author: person writer
band: group
battle: event
biologist: person scientist
bird: animal
bishop: leader person
body:
book:
boxer: person
branch: group organization
breed: group
bridge: structure
building: structure
caliph: person ruler
cancer: condition disease
capital: area
cell:
chancellor: leader minister person
character:
chemist: person scientist
church: group institution organization
city: district metropolis municipality territory
civilization: group society
clade: group
class: collection group
cluster: collection group
collection: group
color:
community: group
company: group institution organization
component: element
composer: artist person
composition: music
compound:
concept:
condition:
conflict: event
constellation:
continent:
country: group organization
creature: animal
currency:
dancer: person
day:
deity:
denomination: group organization
department: group organization
desert: group
designer: person
device:
director: leader person
discipline:
disease: condition
dish: food
disorder: condition
district: territory
drink:
drug:
duke: leader person
dynasty: group
economist: person scientist
element:
emotion:
emperor: monarch person ruler
empire:
empress: emperor monarch person ruler
engine: device machine
engineer: person
equation: statement
era: period
event:
explorer: person
feature:
festival: period
field:
figure: person
film: event
filmmaker: person
fish: animal
flower: plant
food:
footballer: person player
force:
founder: person
fruit:
galaxy: collection group
game: activity event
garment:
gas:
general: officer person
genre:
genus:
god:
goddess: deity
group:
gulf:
historian: person scholar
hormone: substance
human: animal mammal
ideology:
industry: group organization
infection: condition
inflammation:
insect: animal
institution: group organization
instrument: device
invasion: activity event
inventor: person
island:
journalist: author person writer
jurist: person
king: monarch person ruler
kingdom:
lake:
language:
law: collection group
leader: person
league: association group organization
liquid: substance
machine: device
mammal: animal
material: substance
mathematician: person scientist
mathematics: discipline science
mechanism:
medicine: discipline science
metal: substance
method:
metropolis: city district municipality territory
mineral: material substance
minister: leader person
mixture: substance
model:
molecule:
monarch: person ruler
monk: person
monument: structure
moon:
mountain:
movement: event
municipality: district territory
museum:
music:
musician: person
naturalist: person philosopher scholar
network: group
novel:
novelist: author person writer
novella: novel
number:
object:
officer: person
opera: music
operation:
order: group
organ:
organelle: organ
organism:
organization: group
painter: artist person
painting:
park:
particle: material substance
peninsula:
people: group
period:
person:
pharaoh: person ruler
phenomenon:
philosopher: person scholar
philosophy:
photographer: artist person
phylum: group
physician: person
physicist: person scientist
pianist: musician person
piece:
planet:
plant:
plateau:
play:
player: person
playwright: author person writer
poem:
poet: author person writer
politician: leader person
polymath: person scholar
polymer: material substance
practice: activity event
prefecture: district territory
president: leader person
prince: leader person
principle:
procedure: activity event process
process: activity event procedure
product:
property:
prophet: person
province: district territory
psychologist: person scientist
queen: leader person
radiation:
reaction:
region:
relationship:
religion:
reptile: animal
republic: group
revolutionary: person
river:
rock:
rodent: animal mammal
ruler: person
saint: deity
scholar: person
school: group institution organization
science: discipline
scientist: person
sculptor: artist person
sculpture:
sea:
series: group
ship: vehicle
singer: musician person
site:
society: group
sociologist: person scientist
software:
song: composition music
sound:
space:
species: group
spice: material substance
sport: activity event
star:
state: district province territory
statement:
statesman: leader person
statue: sculpture
strait:
structure:
study: activity event
style:
subfamily: group
substance:
sultan: person ruler
superfamily: group
system:
technique: method
technology: discipline
temple: building structure
territory: district
text:
theatre: building structure
theologian: person scholar
theory:
time: event
tissue:
tool:
town: district municipality territory
toy:
tradition:
tragedy:
treatise:
treatment: activity event
tree: plant
tribe: group
union: group organization
unit:
university: group
vegetable:
vehicle:
village: community group
volcano: mountain
war: event
weapon: device instrument
wife: person woman
woman: person
word:
writer: author person
"""
ACCEPTED = _accepted(_TABLE)
