"""What became of a request in the cache: recorded once, and told in the response's fields."""

import logging
from time import time
from typing import Any, Final, cast

from flask import Flask, Request, Response, request
from flask.ctx import RequestContext
from msgspec import Struct

from flask_larder.conditional import is_not_modified
from flask_larder.environ import EnvironFields
from flask_larder.flask.asking import path_of
from flask_larder.flask.current import request_context
from flask_larder.flask.partial import apply_range
from flask_larder.flask.responses import copied, fields_of, forget_told, tell, tell_vary
from flask_larder.headers import values_of, with_vary
from flask_larder.policy import GET_AND_HEAD
from flask_larder.rendered import cache_tag, server_timing
from flask_larder.status import CacheStatus
from flask_larder.wsgi import OUTCOME

_log = logging.getLogger("flask_larder")

_ONCE: Final = "_flask_larder_once"

# What a client may make its request depend on. If-Range counts beside a Range only.
_ASKED_ABOUT: Final = frozenset({"HTTP_IF_MODIFIED_SINCE", "HTTP_IF_NONE_MATCH", "HTTP_RANGE"})


class Outcome(Struct, eq=False):
    """The record of one answer of a cached view.

    *age* is in seconds and ``None`` unless the answer was stored; the times that the cache and
    the view took are in milliseconds, *view_ms* ``None`` where the view did not run. *vary* are
    the header fields that select. *made* is the response that goes to Flask, until its fields are
    written, and it *is_own* where nobody but the cache has it. *send* tells whether the client may
    see the status, *whole* that the whole was made or found, though the client may want a part, and
    *is_as_stored* that no decorator around the cache has changed what was stored.
    """

    status: CacheStatus
    send: bool
    age: float | None = None
    cache_ms: float = 0.0
    view_ms: float | None = None
    vary: frozenset[str] = frozenset()
    hit_indication: bool = False
    send_tags: bool = False
    tags: tuple[str, ...] = ()
    whole: bool = False
    is_as_stored: bool = False
    made: Any = None
    is_own: bool = False

    def __str__(self) -> str:
        return str(self.status)

    def record(self, request: Request) -> None:
        """Make this the outcome of *request*. Of nested views the outer one counts."""
        request.environ[OUTCOME] = self
        if _log.isEnabledFor(logging.DEBUG):
            path = path_of(request)
            _log.debug("%s %s: %s (%s)", request.method, path, self, self.server_timing)

    @property
    def server_timing(self) -> str:
        """The members for ``Server-Timing``, which browsers show."""
        return server_timing(self.cache_ms, self.view_ms)


def tell_in_fields(context: RequestContext) -> None:
    """Have :func:`write_fields` called for the response to the request of *context*, once."""
    functions = context._after_request_functions  # noqa: SLF001 - as flask.after_this_request
    if write_fields not in functions:
        functions.append(write_fields)


def write_fields(response: Response) -> Response:
    """Put the outcome of the current request into the fields of its *response*."""
    context = request_context()
    environ = {} if context is None else context.request.environ
    outcome = environ.get(OUTCOME)
    if not isinstance(outcome, Outcome):
        return response
    is_made = response is outcome.made
    is_own = outcome.is_own and is_made
    outcome.made = None  # it may lead back to the environ
    is_asked_about = not environ.keys().isdisjoint(_ASKED_ABOUT)
    was_sent = not is_made and forget_told(response)
    if not is_own and (is_asked_about or was_sent):
        response = copied(response)  # the app may send it to others
    fields = fields_of(response)
    if outcome.age is not None:
        fields.remove("Age")
    if outcome.vary:
        selecting = with_vary(fields.to_wsgi_list(), outcome.vary)
        tell_vary(response, ", ".join(values_of(selecting, "vary")))
    tell(response, _told(outcome))
    if is_asked_about:
        now = time()
        made_at = now - outcome.age if outcome.is_as_stored and outcome.age is not None else None
        _validate(response, now, made_at)
        if outcome.whole:
            apply_range(response, now, made_at)
    return response


def _told(outcome: Outcome) -> list[tuple[str, str]]:
    """The fields that tell of *outcome*."""
    told = [] if outcome.age is None else [("Age", str(int(outcome.age)))]
    if outcome.send:
        # Lists, to which each cache on the way appends (RFC 9211 section 2).
        told += ("Cache-Status", str(outcome.status)), ("Server-Timing", outcome.server_timing)
    if outcome.send_tags and (tags := cache_tag(outcome.tags)):
        told.append(("Cache-Tag", tags))
    if outcome.hit_indication and outcome.status.is_hit:
        told.append(("hit_cache", "True"))
    return told


def make_responses_once(app: Flask) -> None:
    """Where *app* makes responses in its own way, do that once for each, as without the cache.

    The cache has it made to store it, and Flask would make another one of what it gets.
    """
    own: Any = app
    make = own.make_response
    if getattr(make, "__func__", None) is Flask.make_response or hasattr(make, _ONCE):
        return

    def make_response(value: Any) -> Response:
        context = request_context()
        outcome = None if context is None else context.request.environ.get(OUTCOME)
        if isinstance(outcome, Outcome) and value is not None and value is outcome.made:
            return cast("Response", value)
        return cast("Response", make(value))

    setattr(make_response, _ONCE, True)
    own.make_response = make_response


def _validate(response: Response, now: float, made_at: float | None) -> None:
    """Answer a conditional request with 304 where the client has the same already.

    *made_at* is when a stored response was made. Werkzeug then leaves out the body, and the fields
    that describe it.
    """
    if request.method not in GET_AND_HEAD or response.status_code != 200:
        return
    client, fields = EnvironFields(request.environ), response.headers.to_wsgi_list()
    if is_not_modified(client, fields, now, made_at):
        response.status_code = 304
