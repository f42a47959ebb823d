"""For the tests of apps: what a cached view reads and its key ignores is a failure."""

from collections.abc import Collection, Iterator
from contextlib import contextmanager

from flask import Flask

from flask_larder.errors import NotInitialised
from flask_larder.flask.named_reads import Read, collectors_of
from flask_larder.flask.tracking import caches_of


class UnkeyedReads:
    """What was found: *lines* as debug mode logs them, in order, each once."""

    def __init__(self, ignore: Collection[str] = ()) -> None:
        self._ignored = frozenset(_canonical(name) for name in ignore)
        self._lines: list[str] = []  # appended to by several threads

    def add(self, read: Read, line: str) -> None:
        """Take what was *read*, and the *line* about it."""
        if _canonical(str(read)) not in self._ignored:
            self._lines.append(line)

    @property
    def lines(self) -> list[str]:
        """What was found until now."""
        return list(dict.fromkeys(self._lines))


@contextmanager
def forbid_unkeyed_reads(app: Flask, *, ignore: Collection[str] = ()) -> Iterator[UnkeyedReads]:
    """Fail where a cached view of *app* reads what neither its key nor its ``Vary`` holds.

    Debug mode need not be on. At the end of the block an ``AssertionError`` has one line for each
    such header field, cookie, part of the session and parameter of the query, for each view or
    function whose answer was stored meanwhile; so give the app a ``CACHE_TYPE`` that stores, and
    begin with an empty cache. *ignore* names readings that do no harm, as they stand in the lines:
    ``("headers['X-Request-Id']",)``. Where the block raises by itself, the lines are added to
    that as a note. Raises ``NotInitialised`` where nothing that *app* caches is ever stored.
    """
    if isinstance(ignore, str):
        raise TypeError(f"ignore is {ignore!r}; give a sequence, as in (\"headers['X-Id']\",)")
    if not any(wiring.enabled for wiring in caches_of(app).values()):
        raise NotInitialised(
            f"{app!r} has no cache that stores, so that nothing can be found out; "
            f"set CACHE_TYPE to SimpleCache, and call init_app"
        )
    found, collectors = UnkeyedReads(ignore), collectors_of(app)
    collectors.append(found)
    try:
        yield found
    except BaseException as error:
        if found.lines:
            error.add_note("\n".join(found.lines))
        raise
    finally:
        collectors.remove(found)
    if found.lines:
        raise AssertionError("\n".join(found.lines))


def _canonical(name: str) -> str:
    """*name* whatever its quotes; the case of header fields does not matter."""
    name = name.replace('"', "'")
    return name.lower() if name.startswith("headers[") else name
