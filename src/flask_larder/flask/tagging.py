"""The tags of what is being made, by which it can be purged later."""

from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any, Final, TypeAlias

from flask_larder.errors import InvalidPolicy, InvalidPurge
from flask_larder.flask.current import request_context
from flask_larder.policy import LONGEST_TAG

TagOption: TypeAlias = Iterable[str] | Callable[..., Iterable[str] | None] | None

Tags: TypeAlias = dict[str, None]
"""Tags in the order in which they were given, each once."""

_open: Final[ContextVar[Tags | None]] = ContextVar("flask_larder.tags", default=None)
open_tags: Final[Callable[[], Tags | None]] = _open.get
"""The tags of what is being made here, which gets those of all that it is made of; or ``None``."""

_OPEN: Final = "flask_larder.tags"
"""Where the environ of a request holds all that are open in it, by what tells them apart."""


class Tagging:
    """Collects in *tags* those that are given to what is made while this is entered.

    They are also those of what it is made for: a page that shows a tagged value depends on it.
    """

    __slots__ = ("_of_request", "_outer", "_tags", "_token")

    def __init__(self, tags: Tags) -> None:
        self._tags = tags

    def __enter__(self) -> None:
        here, self._of_request = _open.get(), _open_in_request()
        self._outer = list(self._of_request.values()) if here is None else [here]
        self._token = _open.set(self._tags)
        self._of_request[id(self._tags)] = self._tags

    def __exit__(self, *_: object) -> None:
        _open.reset(self._token)
        del self._of_request[id(self._tags)]
        for each in self._outer:
            each.update(self._tags)


def give_tags(tags: Iterable[str]) -> None:
    """Give *tags* to what is being made now; to nothing, where nothing is that will be kept."""
    if given := dict.fromkeys(tags):
        for collected in _enclosing():
            collected.update(given)


def _enclosing() -> list[Tags]:
    """What is being made now, and gets the tags that are given.

    A thread to which a view has handed its request cannot tell for what it works: it may be all
    that is made in the request.
    """
    here = _open.get()
    return list(_open_in_request().values()) if here is None else [here]


def _open_in_request() -> dict[int, Tags]:
    context = request_context()
    if context is None:
        return {}
    found: dict[int, Tags] = context.request.environ.setdefault(_OPEN, {})
    return found


def tags_of(given: Any) -> TagOption:
    """The tags, or the function that returns them, that the option ``tags`` was given."""
    return given if callable(given) else checked_tags(given)


def checked_tags(given: Any) -> tuple[str, ...]:
    """*given* as tags; ``None`` means none. Raises ``InvalidPolicy``."""
    if given is None:
        return ()
    is_sequence = isinstance(given, Iterable) and not isinstance(given, str | bytes)
    tags = tuple(given) if is_sequence else ()
    if not is_sequence or not all(_is_tag(tag) for tag in tags):
        raise InvalidPolicy(f"tags is {given!r}; give texts that are not empty, as in ('user:7',)")
    return tags


def purgeable_tags(tags: tuple[Any, ...]) -> tuple[str, ...]:
    """*tags* as the names of a purge. Raises ``InvalidPurge``."""
    for tag in tags:
        if not _is_tag(tag):
            raise InvalidPurge(f"a tag is {tag!r}; give texts that are not empty, as in 'user:7'")
        if len(tag) > LONGEST_TAG:
            raise InvalidPurge(
                f"a tag has {len(tag)} characters, and nothing is stored with one of more than "
                f"{LONGEST_TAG}; it begins with {tag[:50]!r}"
            )
    return tags


def _is_tag(tag: Any) -> bool:
    try:
        return isinstance(tag, str) and tag.encode() != b""
    except UnicodeEncodeError:  # half a character
        return False
