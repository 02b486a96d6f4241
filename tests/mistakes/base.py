"""What a mistake is that tests/planted.py plants."""

from typing import NamedTuple


class Mistake(NamedTuple):
    """What is wrong, in which file, the text and what replaces it, and pytest's arguments."""

    what: str
    file: str
    old: str
    new: str
    tests: str
