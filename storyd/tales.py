"""Small made-up stories as a pure function of the request, for rehearsals. Knows no model and no provider.

A story is drawn sentence by sentence from short pools, by a hash of the request: the same question gets
the same story on any machine. It holds every word that the prompt puts in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from hashlib import blake2b

from .exchange import Request

USUAL = 145
"""The mean number of words of a story."""

# ── the pools: one tuple a sentence of the plot, in the order of the plot ──────────────────────────
# No two sentences share four words in a row, so that no story repeats itself.

_START = (
    (
        "Once there was a small child called {name} who lived beside {place}.",
        "{name} was a curious kid whose house stood close to {place}.",
        "In a bright little village near {place} somebody new had moved in, and that was {name}.",
        "Long ago, when summers were slow, {name} played by {place} every single day.",
        "Everybody who passed {place} knew {name} by that big smile.",
        "One morning {name} woke up early and ran straight to {place}.",
    ),
    (
        "{Their} best friend was {friend}, who always carried an apple.",
        "{friend} lived next door and liked to tag along.",
        "With {them} came {friend}, the fastest runner in the street.",
        "Most mornings {friend} joined in as soon as breakfast was over.",
        "Nobody else made {them} laugh as much as {friend} did.",
        "{friend} was a little younger, but just as brave.",
    ),
)
_MIDDLE = (
    (
        "The sun was warm and a soft wind moved the leaves.",
        "Rain had fallen all night, so each puddle shone like glass.",
        "Thin clouds drifted over the hills while birds sang loudly.",
        "It felt like one of those hours when even bees are lazy.",
        "White snow covered the roofs, and smoke curled into the sky.",
        "A cool mist lay on the fields and hid the road.",
    ),
    (
        "\n\nMore than anything, {name} wanted to find a {thing}.",
        "\n\nThat week {they} dreamed of a {thing} with golden dots.",
        "\n\nGrandma had once spoken of some {thing} hidden nearby.",
        "\n\nFor days the two had searched for their lost {thing}.",
        "\n\nPeople said that a sailor had dropped his {thing} in the mud.",
        "\n\nOn the kitchen table stood an empty box, just right for one {thing}.",
    ),
    (
        "So they packed some bread and set off down the lane.",
        "Together they climbed over an old stone wall.",
        "They tiptoed past the sleeping dog and hurried on.",
        "Hand in hand the pair followed a narrow track.",
        "After lunch they crossed the wooden bridge one step at a time.",
        "Both of them counted forty fence posts before they stopped to rest.",
    ),
    (
        "Suddenly something glittered behind a bush.",
        "Under a flat rock there was a tiny door.",
        "Halfway up the slope a strange sound began.",
        "At the next corner fresh footprints led to the left.",
        "Then a feather floated down and tickled {name}'s nose.",
        "Between two roots was a hole full of dry leaves.",
    ),
    (
        '{friend} whispered, "Do you think it is safe?"',
        '"Look over there!" cried {friend} and pointed at the shadows.',
        '{name} asked, "Who could have left this here?"',
        '"I have never seen anything like it," {friend} said slowly.',
        '"Let us be quiet as mice," {name} told {their} friend.',
        '{friend} grinned and said, "This is going to be fun!"',
    ),
    (
        "\n\nBut the ground was slippery, and {name} fell with a loud splash.",
        "\n\nJust then a big crow swooped in and stole {friend}'s hat.",
        "\n\nAll at once the gate slammed shut behind them.",
        "\n\nThe basket tipped over, and everything in it rolled downhill.",
        "\n\nNow the way back was gone, for the fog had grown thick.",
        "\n\nA branch broke, and there hung {friend}, high above the stream.",
    ),
    (
        "{name} felt {their} heart beat fast.",
        "Tears came, but {they} wiped them off bravely.",
        "Neither of them knew what to do.",
        "For a moment it was so still that a leaf sounded loud.",
        "{friend} was frightened and held on tight.",
        "It did not seem fair at all.",
    ),
    (
        "An old woman with a lantern heard the noise and stopped.",
        "Along came a farmer on a slow gray donkey.",
        "Out of the reeds waddled a duck that knew each path.",
        "Luckily the baker was walking home with his empty cart.",
        "A patient turtle lifted its head and blinked at them.",
        "Two boys from school had seen it and came running.",
    ),
    (
        '"Take a deep breath first," was the kind advice.',
        '"Start with the smallest knot," said the helper.',
        'The stranger smiled and answered, "You are stronger than you know."',
        '"Everyone gets stuck sometimes," they were told in a gentle voice.',
        'The answer was simple: "Pull when I count to three!"',
        '"Give me your hands and hold on," said a calm voice.',
    ),
    (
        "They pushed with both arms until their cheeks turned red.",
        "First they tied two scarves into one long rope.",
        "{name} tried again, more carefully this time.",
        "Bit by bit, {friend} moved the heavy stones aside.",
        "They worked as a team and did not give up.",
        "Slowly, {they} reached out as far as {they} could.",
    ),
    (
        "At last, with a pop, it worked!",
        "In the end everything was back where it belonged.",
        "Before the church bell rang, their trouble was over.",
        "And just like that, the problem melted away.",
        "Finally the {thing} lay safe in {friend}'s hands.",
        "One more try was enough, and they cheered.",
    ),
    (
        '"Thank you so much!" {friend} called out.',
        '{name} bowed and said, "We will never forget this."',
        'With shining eyes {friend} asked, "May we share our bread with you?"',
        '"You saved our day," {name} said happily.',
        '{friend} laughed, "Next time I will watch my feet!"',
        '"That was close," said {friend}, and hugged {them}.',
    ),
)
_END = (
    (
        "\n\nWhen the stars came out, they walked home side by side.",
        "\n\nThe road home felt short, because they sang along the way.",
        "\n\nBack in the yard, Mother was already waiting by the door.",
        "\n\nBy sunset everyone sat around the fire again.",
        "\n\nLater that evening the whole family listened to their tale.",
        "\n\nTired and muddy, both of them finally reached the garden.",
    ),
    (
        "There was hot soup for supper, and nothing had ever tasted better.",
        "Father shook his head, but his eyes were smiling.",
        "{name} put {their} {thing} on the shelf where all could see it.",
        "A cat curled up on the rug and purred.",
        "They drew a picture of it and hung it on the wall.",
        "Even the moon looked pleased that night.",
    ),
    (
        "From then on, {name} always stopped to help others.",
        "And {they} learned that being brave is easier with a friend.",
        "That is how {name} found out that patience can fix many things.",
        "Since that day the two have shared each secret.",
        "{name} fell asleep with a smile, dreaming of tomorrow.",
        "Small hands, they now knew, can do great things.",
    ),
)
_WORD = {
    "noun": (
        "Beside the path somebody had left the {word}.",
        "Nobody could explain where the {word} had come from.",
        "{name} could not stop thinking about the {word}.",
        "Far away, past the trees, they could just make out the {word}.",
        "An odd little note about the {word} was pinned to a post.",
        "It all had to do with the {word}, as they soon found out.",
    ),
    "verb": (
        "How good it felt to {word} without any hurry!",
        "{friend} wanted to {word} right away.",
        "It takes courage to {word} when others are watching.",
        "Who would have guessed that a child could {word} so well?",
        "Soon the whole group began to {word} as well.",
        "There was still enough time to {word} once more.",
    ),
    "adjective": (
        "To {them} the world seemed {word} and full of promise.",
        "What a {word} afternoon it was!",
        "The air itself had become {word} somehow.",
        "Everything around them looked rather {word} in that light.",
        "{friend} had never felt so {word} before.",
        "Inside it was {word} but cozy.",
    ),
    "": (
        'A faded sign on the barn said "{word}" in blue chalk.',
        'Somewhere a voice murmured "{word}" and fell silent.',
        'In the sand a finger had written "{word}" twice as large as life.',
        'The parrot at the inn could say "{word}" as clearly as you and me.',
        'Carved into the bench stood "{word}" and a heart.',
        '"{word}" was what the song on the radio was about.',
    ),
}
_LIST = "On a long list one could also read: {word}."

_SHE = {"they": "she", "their": "her", "Their": "Her", "them": "her"}
_HE = {"they": "he", "their": "his", "Their": "His", "them": "him"}
_GIRLS = ("Lily", "Anna", "Mia", "Rosa", "Emma", "Zoe", "Clara", "Nora", "Ida", "Maya")
_BOYS = ("Tim", "Ben", "Leo", "Max", "Sam", "Oskar", "Finn", "Jack", "Hugo", "Noah")
_HEROES = [{"name": name, **_SHE} for name in _GIRLS] + [{"name": name, **_HE} for name in _BOYS]
_FRIENDS = ("Tom", "Ella", "Pip", "Ruby", "Dan", "Greta", "Milo", "Kim", "Otto", "Suki", "Theo", "Wren", "Bo")
_PLACES = (
    *(
        "the old mill",
        "the blue lake",
        "a windy hill",
        "the apple orchard",
        "the town square",
        "a quiet forest",
    ),
    *("the harbor", "the railway bridge", "a wide meadow", "the river bend", "the castle ruins"),
)
_THINGS = (
    *(
        "silver bell",
        "red kite",
        "glass marble",
        "wooden whistle",
        "paper boat",
        "brass key",
        "striped shell",
    ),
    *("music box", "blue balloon", "toy train", "shiny coin", "magic lamp", "green ribbon", "leather ball"),
)

# ── the plot ──────────────────────────────────────────────────────────────────────────────────────

_Variants = list[tuple[str, int]]
"""The ways to say one thing: text with what joins it to the text before, and its number of words."""


def _counted(slots: Sequence[Sequence[str]]) -> list[_Variants]:
    return [
        [(line if line[0] == "\n" else f" {line}", len(line.split())) for line in variants]
        for variants in slots
    ]


_PLOT = _counted((*_START, *_MIDDLE, *_END))
_HEAD, _BODY = len(_START), len(_MIDDLE)
_ESSENTIAL = (0, -1, 7, 12)
"""Who, the trouble, its end, and what was learned: told however short the story is."""
_FURTHER = (3, 9, 4, 6, 1, 11, 5, -3, 13, 2, 8, -2, 10)
_ANCHORS = (4, 6, 10, 13, 3, 8)
"""The sentences after which the words of the prompt are put in, each in turn."""
_MOST_CHAPTERS = len(_MIDDLE[0])


def _told_in_turn(chapters: int) -> list[tuple[int, int, int]]:
    """(place in the text, slot of the plot, chapter) of every sentence, the most needed first."""
    last = len(_PLOT) + (chapters - 1) * _BODY
    turns = [
        (slot, slot, 0) if slot >= 0 else (last + slot, len(_PLOT) + slot, 0)
        for slot in (*_ESSENTIAL, *_FURTHER)
    ]
    return turns + [
        (_HEAD + chapter * _BODY + at, _HEAD + at, chapter)
        for chapter in range(1, chapters)
        for at in range(_BODY)
    ]


_TURNS = [_told_in_turn(chapters) for chapters in range(1, _MOST_CHAPTERS + 1)]


# ── the prompt ────────────────────────────────────────────────────────────────────────────────────

_QUOTED = re.compile(r'["“„](?=\S)([^"“”„\n]{1,80})(?<=\S)["”“]')
_WORDY = re.compile(r"\w")


def asked(request: Request) -> str:
    """What the request's last user message says.

    Where that follows an answer, as feedback on a rejected one does, the question before it counts too.
    """
    said = [text for role, text in request.messages if role == "user"]
    follows = len(request.messages) > 2 and request.messages[-2][0] == "assistant"
    return "\n".join(said[-2:] if follows else said[-1:])


def quoted(prompt: str) -> dict[str, str]:
    """Each word that a prompt puts in double quotes → the part of speech named before it, or ""."""
    found: dict[str, str] = {}
    for match in _QUOTED.finditer(prompt):
        word, start = match[1], match.start()
        before = prompt[max(0, start - 12) : start].split()
        if _WORDY.search(word):
            found.setdefault(word, before[-1] if before and before[-1] in _WORD else "")
    return found


# ── the story ─────────────────────────────────────────────────────────────────────────────────────


def story(request: Request, words: int = USUAL, said: Mapping[str, str] | None = None) -> str:
    """A story of about `words` words after the prefill, holding what the prompt quotes (or `said`)."""
    if said is None:
        said = quoted(asked(request))
    chance = _chance(request)
    opening = _finished(request.prefill)
    wanted = (words * (190 + (chance[0] * 13 >> 5)) >> 8) - 9 * len(said) - len(opening.split())
    lines = _tell(chance, wanted)
    _weave(lines, said, chance[1])
    text = "".join(lines).format(
        **_HEROES[chance[2] % len(_HEROES)],
        friend=_FRIENDS[chance[3] % len(_FRIENDS)],
        place=_PLACES[chance[4] % len(_PLACES)],
        thing=_THINGS[chance[5] % len(_THINGS)],
    )
    return opening + text if opening else text.lstrip()


def _chance(request: Request) -> bytes:
    """64 bytes that follow from the question. Temperature and the like change nothing: a seed does."""
    said = [request.id, str(request.sampling.get("seed", "")), request.prefill]
    for role, text in request.messages:
        said += role, text
    return blake2b("\0".join(said).encode(errors="surrogatepass")).digest()


def _tell(chance: bytes, wanted: int) -> list[str]:
    """The sentences of the plot, empty where one is left out, until there are `wanted` words."""
    chapters = min(max(wanted - 75, 0) // 105 + 1, _MOST_CHAPTERS)
    lines = [""] * (len(_PLOT) + (chapters - 1) * _BODY)
    told = 0
    for turn, (place, slot, chapter) in enumerate(_TURNS[chapters - 1]):
        if told >= wanted and turn >= len(_ESSENTIAL):
            break
        variants = _PLOT[slot]
        lines[place], count = variants[(chance[8 + slot] + chapter) % len(variants)]
        told += count
    return lines


def _weave(lines: list[str], said: Mapping[str, str], chance: int) -> None:
    """Put the words of the prompt into the lines, each in a sentence that fits its part of speech."""
    words = [(word.replace("{", "{{").replace("}", "}}"), kind) for word, kind in said.items()]
    for number, (word, kind) in enumerate(words[: len(_ANCHORS)]):
        variants = _WORD[kind]
        line = variants[(chance + number) % len(variants)].replace("{word}", word)
        lines[_ANCHORS[number]] += f" {line}"
    if rest := [word for word, _ in words[len(_ANCHORS) :]]:
        lines[_ANCHORS[0]] += f" {_LIST.replace('{word}', ', '.join(rest))}"


def _finished(prefill: str) -> str:
    """A prefill, and the rest of its last sentence where it breaks off."""
    said = prefill.rstrip()
    if not said or said[-1] in '.!?"”':
        return prefill
    space = "" if prefill[-1].isspace() else " "
    article = said.rsplit(None, 1)[-1].lower() in ("a", "the", "one", "some", "this", "that", "her", "his")
    return prefill + space + ("thing worth telling." if article else "and so this tale begins.")
