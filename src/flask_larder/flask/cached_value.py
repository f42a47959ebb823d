"""A cached function that is no view: its result is kept as a value."""

import inspect
import sys
from collections.abc import Callable, Mapping
from functools import cached_property
from types import FunctionType
from typing import Any, Final

from flask.ctx import RequestContext
from msgspec import Struct

from flask_larder.chance import CHANCE
from flask_larder.codec import encode_value
from flask_larder.entry import NO_TARGETS, Position, StoredValue, Targets
from flask_larder.errors import UnstorableValue
from flask_larder.flask.asking import Asked, core_request, host_is_refused
from flask_larder.flask.call import Call, OptionFailed
from flask_larder.flask.current import request_context
from flask_larder.flask.endpoints import is_method_of_view, may_answer_request
from flask_larder.flask.purging import defaults_of
from flask_larder.flask.reads import (
    Watch,
    covered_by,
    is_watched,
    note_selecting,
    position_of,
    selected_by,
    selecting_among,
)
from flask_larder.flask.tagging import Tagging, Tags, give_tags
from flask_larder.flask.tracking import OUTER, UNKEYED, track_requests
from flask_larder.flask.unkeyed import NOTHING, Known, recall, remember, tell_unkeyed
from flask_larder.flask.values import NO_VALUE, decoded
from flask_larder.flights import Work
from flask_larder.freshness import spread_lifetime
from flask_larder.policy import is_about_field, may_be_tagged, may_reuse
from flask_larder.purges import VALID


def answer_value(call: Call) -> Any:
    """The stored value where there is one, else what the function returns."""
    if not call.wiring.enabled:
        return call.run()
    if call.timeout is None:
        call.warn("it is not the view of the request, and has no response of its own")
        return call.run()
    if inspect.iscoroutinefunction(call.function):
        call.warn("it is a coroutine function and no view")
        return call.function(*call.args, **call.kwargs)
    context = request_context()
    if context is None:
        if not call.options.is_template:
            return _Evaluation(call, None).answer()
        call.warn(
            "it has no key outside of requests; give make_cache_key=, or key_prefix= a name "
            "without %s"
        )
        return call.run()
    return _Evaluation(call, context).answer() if _may_be_kept(call, context) else call.run()


def _may_be_kept(call: Call, context: RequestContext) -> bool:
    """Whether the result may be kept in this request, and under the request's URL if that is so.

    The URL is the key of a GET only, and of one and only function.
    """
    if not is_watched(context):
        track_requests(context.app)  # the request class was replaced after init_app
        return False
    if host_is_refused(context.app, context.request):
        return False
    if not call.options.is_template:
        return True
    if not (_is_the_only_one(call.function) or _is_hidden_view(call, context)):
        call.warn(
            "it is decorated anew for each request; put the cache on the method in its class"
            if is_method_of_view(call.function)
            else "it is no view, and there may be several of its name; give key_prefix="
        )
        return False
    return may_reuse(core_request(context.request)) is None


def _is_the_only_one(function: Callable[..., Any]) -> bool:
    """Whether its name tells it from others that do something else.

    Not so a closure, a method of an object, a ``partial``, one of several ``lambda``; nor what has
    defaults that no key can hold, as of a loop, and is not found by its name.
    """
    function = inspect.unwrap(function)
    if not isinstance(function, FunctionType) or function.__closure__:
        return False
    if defaults_of(function) is not None:
        return "<lambda>" not in function.__qualname__
    found: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        found = getattr(found, name, None)
    return inspect.unwrap(found) is inspect.unwrap(function) if callable(found) else False


def _is_hidden_view(call: Call, context: RequestContext) -> bool:
    """Whether it may be a view that a decorator hides, which has its URL to itself."""
    is_closure = bool(getattr(call.function, "__closure__", None))
    return not is_closure and may_answer_request(call.decorated, context)


class _Evaluation:
    """One call's way to its value, and the coalescer's ``Task`` on this way.

    What calls share is the encoded value: each decodes its own, which it may then change. It has
    the tags that were given meanwhile.
    """

    def __init__(self, call: Call, context: RequestContext | None) -> None:
        self._call = call
        self._context = context
        self._covered: frozenset[str] = frozenset()
        self._selecting: frozenset[str] = frozenset()
        self._known = NOTHING
        self._watch: Watch | None = None
        self._lacks_field = False
        self._key = ""
        self._targets = NO_TARGETS
        self._judged: dict[bytes, _Answer | None] = {}
        self._position: Position | None = None
        self._seen: Position | None = None
        self._tags: Tags = {}

    def answer(self) -> Any:
        """The value, stored or new."""
        asked, is_forced = self._ask()
        if asked is None:
            return self._call.run()
        self._key, self._targets = asked.key, asked.targets
        self._position = self._known_position()
        with Tagging({}):
            return self._answer(is_forced=is_forced).value

    def _answer(self, *, is_forced: bool) -> "_Answer":
        if is_forced:
            return self.lead()[0]
        return self._call.wiring.coalescer_of_values.find_or_run(self)

    def _known_position(self) -> Position | None:
        """The latest purge that was known when the request came; outside of requests, now."""
        if self._context is None:
            return self._call.wiring.values.position()
        return position_of(self._context, self._call.cache)

    @property
    def key(self) -> str:
        """Who asks for the same key can share a value."""
        return self._call.wiring.values.stored(self._key)

    @property
    def is_for_one(self) -> bool:
        """Whether it would be kept under a URL for which GET may have another one."""
        is_to_head = self._context is not None and self._context.request.method == "HEAD"
        return is_to_head and self._call.options.is_template

    finds_nothing: Final = False
    """It asks for values each time, and does not know whether that has failed."""

    @property
    def since(self) -> Position | None:
        """The latest purge that was known when the request came."""
        return self._position

    def expects(self) -> Targets:
        """See :class:`~flask_larder.flights.Work`."""
        return self._call.expected(tuple(self._tags), self._targets, asks=False)

    @cached_property
    def _expected(self) -> Targets:
        return self._call.expected((), self._targets, asks=True)

    @property
    def is_overtaken(self) -> bool:
        """See :class:`~flask_larder.coalesce.Task`."""
        recency = self._call.wiring.values.recency
        return recency.verdict_since(self._position, lambda: self._expected) != VALID

    def is_too_old(self, work: Work) -> bool:
        """See :class:`~flask_larder.coalesce.Task`."""
        return self._call.wiring.values.recency.is_too_old(work, self._seen or self._position)

    def find(self) -> "_Answer | None":
        """The first look."""
        stored, self._seen = self._call.wiring.values.look(self._key)
        return None if stored is None else self.adopt(stored)

    def look(self) -> StoredValue | None:
        """What is stored by now."""
        return self._call.wiring.values.get_stored(self._key)

    def adopt(self, stored: StoredValue) -> "_Answer | None":
        """The value that another call has got, if this one may use it."""
        judge = self._call.wiring.values.recency.verdict_on_shared
        if judge(stored.position, self._position, self._seen, stored.targets) != VALID:
            return None
        if stored.data not in self._judged:
            value = decoded(stored)
            is_usable = value is not NO_VALUE and not self._call.finds_stale(value)
            self._judged[stored.data] = _Answer(value) if is_usable else None
        answer = self._judged[stored.data]
        if answer is not None:
            self._call.tell_ignored_arguments(stored.targets)
            give_tags(stored.targets.tags)
            if self._context is not None:
                recall(self._call, self._context)
        return answer

    def settle(self) -> None:
        """Nothing will do: a value has no time in which it is stale."""

    def lead(self) -> "tuple[_Answer, StoredValue | None]":
        """Run the function, and keep what it returns if it may be kept."""
        call, tags = self._call, self._tags
        tags.clear()
        with Tagging(tags):
            try:
                give_tags(call.tags())
            except OptionFailed:
                return _Answer(_joined(call.run())), None
            result, reason = self._run()
        is_nothing = result is None and not call.options.cache_none
        if is_nothing or self.is_for_one or call.refusal_of(result):
            return _Answer(result), None
        if reason is not None:
            if self._watch is not None and self._lacks_field:
                tell_unkeyed(call, self._known, self._watch.named(), frozenset(), is_view=False)
            call.warn(reason)
            return _Answer(result), None
        try:
            data = encode_value(result)
        except UnstorableValue as error:
            call.warn(str(error))
            return _Answer(result), None
        value = StoredValue(data, self._position, call.targets(tags, self._targets))
        if reason := may_be_tagged(value.targets):
            call.warn(f"it has {reason.replace('-', ' ')}")
            return _Answer(result), None
        if self._watch is not None:
            tell_unkeyed(call, self._known, self._watch.named(), frozenset(), is_view=False)
        assert call.timeout is not None  # noqa: S101 - else nobody asks for it
        lifetime = spread_lifetime(call.timeout, call.jitter, CHANCE.random())
        call.wiring.values.keep(self._key, value, lifetime)
        return _Answer(result), value

    def _ask(self) -> tuple[Asked | None, bool]:
        """What to ask for, ``None`` where the cache is left alone; and whether to replace it."""
        call, context = self._call, self._context
        try:
            if call.bypasses():
                return None, False
            is_forced = call.is_forced()
            if context is None:
                return call.asked(None, is_view=False), is_forced
            note_selecting(call.options.vary_fields)
            making_key = Watch(context)
            asked = call.asked(core_request(context.request), is_view=False)
            self._covered = covered_by(call.options, making_key)
            self._selecting = selected_by(call.options, making_key)
            before, by_key = making_key.named_before(), making_key.named()
            self._known = Known(before if before and self._may_be_view else frozenset(), by_key)
        except OptionFailed:
            return None, False
        return asked, is_forced

    @cached_property
    def _may_be_view(self) -> bool:
        """Whether it may be a view that was not recognised as one, by its key or by its place.

        Then the user may be one that was loaded before; else only what it reads itself counts.
        """
        call, context = self._call, self._context
        if call.options.is_template or is_method_of_view(call.function):
            return True
        return context is not None and may_answer_request(call.decorated, context)

    def _run(self) -> tuple[Any, str | None]:
        """What the function returns, and why that is not to be kept."""
        call, context = self._call, self._context
        if context is None:
            return _joined(call.run()), None
        watch = self._watch = Watch(context)
        result = _joined(call.run())
        remember(call, watch.named())
        lacking = watch.unkeyed()
        before = watch.unkeyed_before()
        # What another request has put into flask.g, the function would have read for itself.
        lacking |= before if self._may_be_view else before & {UNKEYED[OUTER]}
        lacking -= self._covered
        self._lacks_field = any(is_about_field(f"read-{name}") for name in lacking)
        read = watch.selecting() if self._may_be_view else selecting_among(watch.names())
        if lacking := lacking | (read - self._selecting):
            names = ", ".join(sorted(lacking))
            return result, f"{names} was read, which its key does not hold; give vary="
        if watch.changes_session():
            return result, "it changes the session, and what is kept does not"
        if _looks_like_response(result):
            return result, (
                "it returns what looks like a response, but is not the view of the request; "
                "if it is a view, use functools.wraps in the decorators around it"
            )
        return result, None


class _Answer(Struct, frozen=True):
    """A value, which may be ``None``."""

    value: Any


def _looks_like_response(result: Any) -> bool:
    """Whether Flask would take *result* for a body with a status or with header fields."""
    if not isinstance(result, tuple) or len(result) not in {2, 3}:
        return False
    if not isinstance(result[0], str | bytes | dict | list):
        return False
    is_status = type(result[1]) is int and 100 <= result[1] <= 599
    fields = result[-1]
    return is_status or (
        isinstance(fields, Mapping)
        and bool(fields)
        and all(isinstance(part, str) for item in fields.items() for part in item)
    )


def _joined(result: Any) -> Any:
    """What a generator made, as one text or as bytes where it is that, as in Flask-Caching."""
    if not inspect.isgenerator(result):
        return result
    chunks: list[Any] = list(result)
    if chunks and all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    if chunks and all(isinstance(chunk, bytes) for chunk in chunks):
        return b"".join(chunks)
    return chunks
