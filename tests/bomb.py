"""What shows that something has been unpickled, which may come from anybody."""

from typing import Any


class Bomb:
    """Leaves a trace where it is unpickled."""

    exploded = 0

    def __reduce__(self) -> tuple[Any, ...]:
        return _explode, ()


def _explode() -> None:
    Bomb.exploded += 1
