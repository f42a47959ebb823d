"""Know what a view looked at: cookies, the session, ``Authorization``, ``Accept*``, ``Origin``.

A response that depends on who asks must not be handed to somebody else, and only the reading
tells that it does.
"""

from collections.abc import Callable, Collection, Iterable
from typing import Any

from flask.ctx import RequestContext

from flask_larder.credentials import may_tell_who_asks, telling_who_asks
from flask_larder.entry import Position
from flask_larder.environ import EnvironFields
from flask_larder.flask.current import request_context
from flask_larder.flask.named_reads import Read
from flask_larder.flask.options import Options
from flask_larder.flask.tracked_fields import (
    ALL_FIELDS,
    NotedEnviron,
    TrackedHeaders,
    note_all,
)
from flask_larder.flask.tracked_session import CHANGED, is_modified, track_session
from flask_larder.flask.tracking import UNKEYED, TrackedRequest
from flask_larder.headers import selects_by_itself
from flask_larder.policy import NEVER_FOR_ALL


def note_selecting(names: Collection[str]) -> None:
    """Note as read the header fields by which a stored entry was selected.

    What is answered from the cache reads nothing, but whoever called for it, perhaps another
    cached view, depends on these fields all the same.
    """
    context = request_context() if names else None
    if context is not None and isinstance(context.request.headers, TrackedHeaders):
        for name in names:
            context.request.headers.note(name)


def is_watched(context: RequestContext) -> bool:
    """Whether what is read of the request is noted."""
    return isinstance(context.request, TrackedRequest) and context.request.larder_is_watched


def position_of(context: RequestContext, cache: object) -> Position | None:
    """The latest purge of *cache* that was known when the request came, if any was."""
    request = context.request
    return request.larder_position(cache) if isinstance(request, TrackedRequest) else None


def is_anonymous(context: RequestContext) -> bool:
    """Whether the request carries neither cookies nor ``Authorization``."""
    environ = context.request.environ
    return "HTTP_COOKIE" not in environ and "HTTP_AUTHORIZATION" not in environ


class Watch:
    """Tells what is read of a request since this was made from what was read before."""

    def __init__(self, context: RequestContext) -> None:
        assert isinstance(context.request, TrackedRequest)  # noqa: S101 - others are not watched
        self._log = context.request.larder_reads
        self._context = context
        track_session(context, self._log)
        self._was_modified = is_modified(context)
        self._start = self._log.now()
        self._named_log = context.request.larder_named_reads
        self._named_start = 0 if self._named_log is None else self._named_log.now()

    @property
    def is_naming(self) -> bool:
        """Whether readings are noted by name, too."""
        return self._named_log is not None

    def named(self) -> frozenset[Read]:
        """What was read since, by name; nothing where that is not noted."""
        log = self._named_log
        return frozenset() if log is None else log.since(self._named_start)

    def named_before(self) -> frozenset[Read]:
        """What was read before, by name."""
        log = self._named_log
        return frozenset() if log is None else log.before(self._named_start)

    def noted(self, environ: dict[str, Any]) -> dict[str, Any]:
        """*environ* for somebody of whom it is noted what he reads of that."""
        return NotedEnviron(environ, self._log)

    def note_all(self) -> None:
        """Note as read whatever may tell who asks: it went to who may look at any of it."""
        note_all(self._log)

    def names(self) -> frozenset[str]:
        """The names of the header fields, and of the rest, that were read since."""
        return self._log.since(self._start)

    def unkeyed(self) -> frozenset[str]:
        """What was read since that no key holds by itself; see ``Reads.unkeyed``."""
        return _unkeyed(self.names())

    def unkeyed_before(self) -> frozenset[str]:
        """What was read so before."""
        return _unkeyed(self._log.before(self._start))

    def changes_session(self) -> bool:
        """Whether the session was changed since, as far as it can tell, or shown in part.

        Flask takes messages out of it when they are shown, and has them until the request ends.
        """
        context = self._context
        if CHANGED in self.names() or context.flashes:
            return True
        return is_modified(context) and not self._was_modified

    def selecting(self) -> frozenset[str]:
        """The ``Accept*`` fields and ``Origin``, if they were read, since or before."""
        return selecting_among(self._log.since())


def selecting_among(names: frozenset[str]) -> frozenset[str]:
    """Those of the *names* by which answers are selected where they were read."""
    return frozenset(filter(selects_by_itself, names))


def credentials_among(unkeyed: frozenset[str], names: Iterable[str]) -> frozenset[str]:
    """*unkeyed*, in which to have read all header fields is to have read the credentials there.

    So a view that hands all of them on to an upstream tells nobody apart who shows none. *names*
    are those of the request's fields, in lower case.
    """
    if "headers" not in unkeyed:
        return unkeyed
    return (unkeyed - {"headers"}) | telling_who_asks(names)


def _unkeyed(names: frozenset[str]) -> frozenset[str]:
    if not names:
        return frozenset()
    own = frozenset(UNKEYED[name] for name in names & UNKEYED.keys())
    return own | {name for name in names - UNKEYED.keys() if may_tell_who_asks(name)}


def covered_by(options: Options, making_key: Watch) -> frozenset[str]:
    """What the key holds of :attr:`Reads.unkeyed <flask_larder.entry.Reads>`.

    A function that makes the key covers what it read itself. A ``vary`` function says who is
    asking, and so covers also what was read before: a user whom a hook or a decorator loaded is
    the same one. *making_key* is the watch under which the key was made.
    """
    covered = frozenset(options.vary_fields) - NEVER_FOR_ALL
    if "cookie" in covered:
        covered |= {"session"}
    if options.asks_for_key:
        covered |= making_key.unkeyed()
    if options.vary_by is not None:
        covered |= making_key.unkeyed_before()
    return covered


def selected_by(options: Options, making_key: Watch) -> frozenset[str]:
    """By which of such fields the key of a value tells its calls apart.

    As :func:`covered_by`: a ``vary`` function covers what was read before, too.
    """
    own = frozenset(options.vary_fields)
    if options.vary_by is not None:
        return own | making_key.selecting()
    return own | selecting_among(making_key.names()) if options.asks_for_key else own


def fields_of_key(options: Options, making_key: Watch, environ: dict[str, Any]) -> frozenset[str]:
    """The header fields that a function which makes the key has read, in lower case.

    Caches on the way, which do not know it, select by them; and by those from which the user was
    loaded before whom a ``vary`` function names. The host is in every key.
    """
    if not options.asks_for_key:
        return frozenset()
    own = frozenset(n for n in making_key.names() - {"host"} if n == ALL_FIELDS or n[:1] != ":")
    if options.vary_by is None:
        return own
    before = credentials_among(making_key.unkeyed_before(), EnvironFields(environ).keys())
    return own | (before - NEVER_FOR_ALL)


def registered_functions(context: RequestContext) -> list[Callable[..., Any]]:
    """What was given to ``flask.after_this_request``."""
    return list(context._after_request_functions)  # noqa: SLF001 - there is no public name
