"""Mistakes that the fast tests must catch, for tests/planted.py to plant one at a time.

Each is one replacement of text that stands once in its file, and the tests that are to fail by it.
"""

from tests.mistakes.base import Mistake
from tests.mistakes.images import IMAGES
from tests.mistakes.parts import PARTS
from tests.mistakes.training import TRAINING

__all__ = ["MISTAKES", "Mistake"]

MISTAKES = (*PARTS, *TRAINING, *IMAGES)
