"""What the tests of views look at."""

from collections.abc import Callable

from werkzeug.test import TestResponse

Get = Callable[..., TestResponse]


class Counter:
    """Counts how often a view ran."""

    def __init__(self) -> None:
        self.runs = 0

    def __call__(self) -> int:
        self.runs += 1
        return self.runs


def status_of(response: TestResponse) -> str:
    """The ``Cache-Status`` of an answer."""
    return response.headers["Cache-Status"]


def is_hit(response: TestResponse) -> bool:
    """Whether an answer came from the cache."""
    return status_of(response).startswith("larder; hit")
