"""The closed vocabulary that the tasks share.

Small on purpose: a model of a few million parameters should spend them on the tasks.
"""

PEOPLE = (
    *("Ann", "Ben", "Carl", "Dora", "Emma", "Felix", "Greta", "Hugo", "Ida", "Jack", "Kate", "Leo"),
    *(
        "Maria",
        "Nina",
        "Oscar",
        "Paul",
        "Rosa",
        "Sam",
        "Tina",
        "Tom",
        "Vera",
        "Will",
        "Yara",
        "Zoe",
    ),
)

WOMEN = (
    *("Ann", "Dora", "Emma", "Greta", "Ida", "Kate", "Maria", "Nina", "Rosa", "Tina", "Vera"),
    *("Yara", "Zoe"),
)
"""Those of `PEOPLE` who are "she"."""

MONTHS = (
    *("January", "February", "March", "April", "May", "June"),
    *("July", "August", "September", "October", "November", "December"),
)

THINGS = (
    *("box", "key", "lamp", "book", "cup", "map", "ring", "hat", "chair", "door", "bike", "car"),
    *("boat", "bag", "bed", "pen", "coat", "clock", "drum", "desk", "ball", "kite", "cake", "soup"),
)

ANIMALS = (
    *("cat", "dog", "fox", "owl", "bee", "cow", "hen", "pig", "ant", "bear", "frog", "goat"),
    *("duck", "fish", "wolf", "lion"),
)

CITIES = (
    *("Rome", "Paris", "London", "Berlin", "Madrid", "Oslo", "Vienna", "Prague"),
    *("Cairo", "Lima", "Tokyo", "Seoul", "Boston", "Dublin", "Athens", "Lisbon"),
)

JOBS = (
    *("baker", "teacher", "farmer", "doctor", "painter", "singer", "driver", "nurse"),
    *("writer", "cook", "pilot", "judge", "dancer", "lawyer", "tailor", "gardener"),
)
