"""Tell how often Flask was asked, and what is answered before it."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from werkzeug.test import TestResponse

from tests.flask.answers import Get, is_hit


class Passing:
    """How many requests Flask has answered."""

    def __init__(self) -> None:
        self.count = 0

    @contextmanager
    def none(self) -> Iterator[None]:
        """What is answered in the block is answered before Flask."""
        yield from self._exactly(0)

    @contextmanager
    def one(self) -> Iterator[None]:
        """One request in the block reaches Flask."""
        yield from self._exactly(1)

    def _exactly(self, number: int) -> Iterator[None]:
        before = self.count
        yield
        assert self.count - before == number


def learn(get: Get, flask: Passing, path: str, **options: Any) -> TestResponse:
    """Have Flask answer once; then a hit is answered before it, which is returned."""
    with flask.one():
        get(path, **options)
    with flask.none():
        answer = get(path, **options)
    assert is_hit(answer)
    return answer


def stays_inside(get: Get, flask: Passing, path: str, **options: Any) -> None:
    """Flask answers each time, also where it is a hit."""
    for _ in range(3):
        with flask.one():
            answer = get(path, **options)
    assert is_hit(answer)


@contextmanager
def counted(flask: Passing, *, is_known: bool) -> Iterator[None]:
    with flask.none() if is_known else flask.one():
        yield
