"""Chance, which an app that seeds Python's :mod:`random` for its own purposes does not rule."""

import random
from typing import Final

CHANCE: Final = random.SystemRandom()
"""Differs in each process, also after a fork."""
