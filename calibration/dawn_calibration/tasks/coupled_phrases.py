"""Coupled choices among phrases: greeting, lead and closing of a note belong together.

    Write a polite note from Ann to say that the box is here.
    Dear Sir, I am glad that the box is here. Yours truly, Ann

The tone decides which notes may be written; see `dawn_calibration.tasks.coupling`.
"""

import random
from dataclasses import asdict, dataclass

from dawn_calibration.tasks.base import RIGHT, Task, Verdict, wrong
from dawn_calibration.tasks.coupling import Choice, pick
from dawn_calibration.tasks.template import one_of, read_any, templates
from dawn_calibration.tasks.words import PEOPLE, THINGS

# Of "polite" and "warm" each part has a variant that two of three notes share, but no note has all
# three of those variants: the majority of parts is nobody's letter. The variants of a part have
# equally many words within a tone, so that the parts of all its notes stand in the same places.
NOTES: dict[str, tuple[Choice, ...]] = {
    "polite": (
        Choice(("Dear Sir", "I am glad that", "Yours truly"), 34),
        Choice(("Dear Sir", "please take note that", "With respect"), 33),
        Choice(("Good day", "I am glad that", "With respect"), 33),
    ),
    "warm": (
        Choice(("Hi friend", "good news,", "See you soon"), 34),
        Choice(("Hi friend", "guess what,", "All my love"), 33),
        Choice(("Hello there", "good news,", "All my love"), 33),
    ),
    "short": (
        Choice(("To all", "we report that", "The office"), 40),
        Choice(("Dear team", "please know that", "Many thanks"), 30),
        Choice(("Dear team", "just note that", "Good bye"), 30),
    ),
}
"""By the tone of a note: greeting, lead and closing of every note that may be written."""

_STATES = ("here", "ready", "old", "new", "lost", "safe", "broken", "clean", "red", "green")
_HOLES = {
    "tone": one_of(NOTES),
    "who": one_of(PEOPLE),
    "thing": one_of(THINGS),
    "state": one_of(_STATES),
    **{
        part: one_of({choice.parts[i] for notes in NOTES.values() for choice in notes})
        for i, part in enumerate(("greeting", "lead", "closing"))
    },
}
_TEMPLATES = templates(
    _HOLES,
    "Write a {tone} note from {who} to say that the {thing} is {state}.",
    "The {thing} is {state}. Write a {tone} note about it from {who}.",
    "{who} writes a {tone} note: the {thing} is {state}. What does it say?",
)
(_ANSWER,) = templates(_HOLES, "{greeting}, {lead} the {thing} is {state}. {closing}, {who}")


@dataclass(frozen=True, slots=True)
class Note:
    """Who says what, and in which tone."""

    who: str
    thing: str
    state: str
    tone: str

    @property
    def key(self) -> str:
        """The four facts, whatever the sentence around them."""
        return f"{self.who} {self.thing} {self.state} {self.tone}"

    def answer(self, choice: Choice) -> str:
        """Returns the note with the phrases of `choice`."""
        greeting, lead, closing = choice.parts
        phrases = {"greeting": greeting, "lead": lead, "closing": closing}
        return _ANSWER.fill({**asdict(self), **phrases})


class CoupledPhrases(Task[Note]):
    """Writing a note: any set of phrases of the tone is right, a mixture is not."""

    name = "coupled-phrases"

    def draw(self, rng: random.Random) -> Note:
        """Draws four independent facts."""
        tone = rng.choice(tuple(NOTES))
        return Note(rng.choice(PEOPLE), rng.choice(THINGS), rng.choice(_STATES), tone)

    def ask(self, problem: Note, rng: random.Random) -> str:
        """Tells the facts and asks for a note."""
        return rng.choice(_TEMPLATES).fill(asdict(problem))

    def solve(self, problem: Note, rng: random.Random) -> str:
        """Writes a note with phrases drawn by their weight."""
        return problem.answer(pick(rng, NOTES[problem.tone]))

    def read(self, prompt: str) -> Note | None:
        """Reads the four facts."""
        values = read_any(_TEMPLATES, prompt)
        return None if values is None else Note(**values)

    def judge(self, problem: Note, text: str) -> Verdict:
        """Compares with the note for every set of phrases of the tone."""
        if any(text == problem.answer(choice) for choice in NOTES[problem.tone]):
            return RIGHT
        values = _ANSWER.read(text)
        if values is None:
            return wrong("the answer is not a note of known phrases")
        for fact, value in asdict(problem).items():
            if fact in values and values[fact] != value:
                return wrong(f"the {fact} should be {value!r}, got {values[fact]!r}")
        return wrong(f"the phrases are not those of one {problem.tone} note")
