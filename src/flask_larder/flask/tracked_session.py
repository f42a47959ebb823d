"""Sessions that note when they are used."""

from inspect import getattr_static
from typing import Any, Final

from flask.ctx import RequestContext
from flask.sessions import SessionMixin

from flask_larder.flask.named_reads import reducing, sets_attributes_itself
from flask_larder.flask.read_log import ReadLog

SESSION: Final = ":session"
"""Stands among the names of header fields for the session."""

CHANGED: Final = ":changed"
"""Stands there where the session was changed, of which Flask sends a cookie."""


class _TrackedSession(SessionMixin):
    """Mixed into the class of a session: notes each use and change; Flask keeps only whether."""

    _reads: ReadLog[str]

    @property
    def accessed(self) -> bool:
        return bool(self.__dict__.get("accessed", False))

    @accessed.setter
    def accessed(self, accessed: bool) -> None:  # pyright: ignore[reportIncompatibleVariableOverride]
        self.__dict__["accessed"] = accessed
        if accessed:
            self._reads.note(SESSION)


_tracked_kinds: dict[type[Any], type[Any]] = {}


def _tracked_kind(kind: type[Any]) -> type[Any]:
    if kind not in _tracked_kinds:
        # An interface may pickle it.
        reduce_ex = reducing(kind, "_reads", lambda _: None)
        own: dict[str, Any] = {"__module__": kind.__module__, "__reduce_ex__": reduce_ex}
        if not hasattr(getattr_static(kind, "modified", None), "__set__"):
            own["modified"] = _noting_changes(kind)
        _tracked_kinds[kind] = type(kind.__name__, (_TrackedSession, kind), own)
    return _tracked_kinds[kind]


def _noting_changes(kind: type[Any]) -> property:
    """The attribute ``modified`` of a session of *kind*, where it is a plain one."""
    default = getattr(kind, "modified", True)

    def get(session: Any) -> Any:
        return session.__dict__.get("modified", default)

    def note(session: Any, modified: Any) -> None:
        session.__dict__["modified"] = modified
        if modified:
            session._reads.note(CHANGED)  # noqa: SLF001

    return property(get, note)


def track_session(context: RequestContext, reads: ReadLog[str]) -> None:
    """Let the session note in *reads* when it is used. One that cannot counts as used, always."""
    session = session_of(context)
    if sets_attributes_itself(session):
        was_used = True
    elif isinstance(session, _TrackedSession):
        if session._reads is reads:  # noqa: SLF001
            return
        was_used = True  # by another request, to which the same object was handed out
        session._reads = reads  # noqa: SLF001
    else:
        was_used = getattr(session, "accessed", True)
        try:
            session.__class__ = _tracked_kind(type(session))
            session.__dict__["accessed"] = was_used
            session._reads = reads  # noqa: SLF001
        except (AttributeError, TypeError):
            was_used = True
    if was_used:
        reads.note(SESSION)


def is_modified(context: RequestContext) -> bool:
    """Whether the session says that it was changed. One that cannot tell always says so."""
    return bool(getattr(session_of(context), "modified", False))


def session_of(context: RequestContext) -> Any:
    """The session, without the public property, which would count as using it."""
    return context.__dict__["_session" if "_session" in context.__dict__ else "session"]
