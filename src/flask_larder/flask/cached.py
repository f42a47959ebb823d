"""What a function decorated with ``cached`` does when it is called."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final

from flask import (
    Response,
    after_this_request,
    current_app,
    has_app_context,
    has_request_context,
)
from flask.ctx import RequestContext
from flask.globals import request_ctx
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from flask_larder.engine import Ask, Hit
from flask_larder.entry import StoredResponse
from flask_larder.errors import UnstorableValue
from flask_larder.flask.asking import core_request, host_is_refused, key_of, source_of
from flask_larder.flask.options import Options, call_with_fitting
from flask_larder.flask.outcome import Outcome, write_fields
from flask_larder.flask.reads import TrackedRequest, Watch, credentials_read, track_requests
from flask_larder.flask.signals import cache_view_hit, cache_view_miss
from flask_larder.flask.values import NO_VALUE
from flask_larder.flask.view import ViewAnswer
from flask_larder.flask.wiring import Wiring
from flask_larder.policy import Policy, Reason
from flask_larder.status import CacheStatus

_log = logging.getLogger("flask_larder")

# What a header field that the key holds tells apart.
_COVERED_BY_FIELD: Final = {
    "cookie": frozenset({"cookie", "session"}),
    "authorization": frozenset({"authorization"}),
}


@dataclass(frozen=True, slots=True)
class Call:
    """One call of a decorated function: what to run, with what, and under which options.

    *cache* is the :class:`~flask_larder.Cache`, the sender of signals. *timeout* is in seconds.
    """

    cache: object
    wiring: Wiring
    options: Options
    timeout: float
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def run(self) -> Any:
        """What the function returns, also where it is a coroutine function."""
        function = current_app.ensure_sync(self.function) if has_app_context() else self.function
        return function(*self.args, **self.kwargs)

    def bypasses(self) -> bool:
        """Whether ``unless`` keeps this call away from the cache."""
        unless = self.options.unless
        return unless is not None and bool(
            call_with_fitting(unless, self.function, *self.args, **self.kwargs)
        )

    def is_forced(self) -> bool:
        """Whether ``forced_update`` wants what is stored replaced."""
        forced = self.options.forced_update
        return forced is not None and bool(call_with_fitting(forced, *self.args, **self.kwargs))

    def finds_stale(self, stored: Any) -> bool:
        """Whether ``is_stale`` rejects what is stored."""
        is_stale = self.options.is_stale
        if is_stale is None:
            return False
        if len(inspect.signature(is_stale).parameters) > 1:
            return bool(is_stale(stored, *self.args, **self.kwargs))
        return bool(is_stale(stored))

    def filters_out(self, result: Any) -> bool:
        """Whether ``response_filter`` does not want *result* stored."""
        response_filter = self.options.response_filter
        return response_filter is not None and not response_filter(result)

    def key(self) -> str:
        """The key of this call; runs what the options name for it."""
        checked = self.options.source_check
        if checked is None:
            checked = self.wiring.settings["CACHE_SOURCE_CHECK"]
        source = source_of(self.function) if checked else None
        return key_of(self.options, source, self.args, self.kwargs)


# --- a view: its answer is kept as a response ---


def answer_view(call: Call) -> Any:
    """The stored response where there is one, else what the view answers."""
    if not has_request_context():
        return call.run()
    context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    if write_fields not in context._after_request_functions:  # noqa: SLF001 - no public name
        after_this_request(write_fields)
    outcome = Outcome(
        CacheStatus("bypass"),
        send=call.wiring.settings["CACHE_SEND_STATUS"],
        vary=frozenset(call.options.vary_fields),
        hit_indication=call.options.response_hit_indication,
    )
    started = perf_counter()
    try:
        return _answer(call, context, outcome)
    finally:
        outcome.cache_ms = (perf_counter() - started) * 1000 - (outcome.view_ms or 0.0)
        outcome.record()


def _answer(call: Call, context: RequestContext, outcome: Outcome) -> Any:
    ask = _ask(call, context)
    if not isinstance(ask, Ask):
        outcome.status = CacheStatus("bypass", detail=ask)
        return _timed(call.run, outcome)
    with Watch(context, write_fields) as watch:
        answer, outcome.status = call.wiring.engine.answer(
            ask, lambda status: _run_view(call, ask.policy, watch, status, outcome)
        )
        if not isinstance(answer, Hit):
            outcome.vary |= watch.reads().selecting
    _send_signal(call, ask.key, answer)
    if isinstance(answer, Hit):
        outcome.age = answer.age
        return _response_of(answer.response)
    if answer.raised is not None:
        raise answer.raised
    return answer.value


def _run_view(
    call: Call, policy: Policy, watch: Watch, status: CacheStatus, outcome: Outcome
) -> ViewAnswer:
    outcome.status = status  # holds also where the view raises
    raised = None
    try:
        value = _timed(call.run, outcome)
    except HTTPException as error:
        value, raised = None, error
        if error.get_response().status_code in policy.statuses:
            # Asked for: what the app's error handler makes of it is the response to store.
            value, raised = current_app.handle_user_exception(error), None
    refused = call.filters_out(raised.get_response() if raised else value)
    return ViewAnswer(watch, value, raised, refused=refused)


def _timed(run: Callable[[], Any], outcome: Outcome) -> Any:
    started = perf_counter()
    try:
        return run()
    finally:
        outcome.view_ms = (perf_counter() - started) * 1000


def _ask(call: Call, context: RequestContext) -> Ask | Reason:
    """What to ask the engine, or the reason why it is not asked at all."""
    if reason := _reason_not_to_ask(call, context):
        return reason
    try:
        key = call.key()
    except Exception:
        if current_app.debug:
            raise
        _log.exception("The key of %s cannot be made; it answers uncached", call.function)
        return "key-error"
    return Ask(
        request=core_request(),
        policy=Policy(
            timeout=call.timeout,
            statuses=call.options.statuses,
            covered=_covered(call.options, context),
            body_limit=call.wiring.settings["CACHE_MAX_BODY_BYTES"],
        ),
        key=key,
        hash_method=call.options.hash_method or call.wiring.settings["CACHE_HASH_METHOD"],
        refresh=call.is_forced(),
        is_stale=(lambda stored: call.finds_stale(_response_of(stored)))
        if call.options.is_stale
        else None,
    )


def _reason_not_to_ask(call: Call, context: RequestContext) -> Reason | None:
    if not isinstance(context.request, TrackedRequest):
        track_requests(current_app)  # the class was replaced after init_app; from now on again
        return "untracked"
    if not call.wiring.enabled:
        return "null-cache"
    if host_is_refused():
        return "untrusted-host"
    return "unless" if call.bypasses() else None


def _covered(options: Options, context: RequestContext) -> frozenset[str]:
    """What identifies the user and is part of the key.

    A function that makes the key, or a part of it, covers what was read until it returned: it
    says who is asking, and a user that a hook or a decorator loaded before is the same one.
    """
    covered: frozenset[str] = frozenset()
    for name in options.vary_fields:
        covered |= _COVERED_BY_FIELD.get(name, frozenset())
    if options.vary_by or options.make_cache_key or callable(options.key_prefix):
        covered |= credentials_read(context)
    return covered


def _response_of(stored: StoredResponse) -> Response:
    response = current_app.response_class(stored.body, status=stored.status)
    response.headers = Headers(stored.fields)
    return response


def _send_signal(call: Call, key: str, answer: Hit | ViewAnswer) -> None:
    if call.wiring.settings["CACHE_ENABLE_SIGNALS"]:
        signal = cache_view_hit if isinstance(answer, Hit) else cache_view_miss
        signal.send(call.cache, cache_key=key, args=call.args, kwargs=call.kwargs)


# --- any other function: its result is kept as a value ---


def answer_value(call: Call) -> Any:
    """The stored value where there is one, else what the function returns."""
    if not call.wiring.enabled or call.bypasses():
        return call.run()
    key, values = call.key(), call.wiring.values
    stored = NO_VALUE if call.is_forced() else values.get(key)
    if stored is not NO_VALUE and not call.finds_stale(stored):
        return stored
    result, credentials = _run_watched(call)
    if (result is None and not call.options.cache_none) or call.filters_out(result):
        return result
    if credentials:
        _log.warning(
            "%s is not cached: it read %s, which its key does not hold; give vary=",
            call.function.__qualname__,
            ", ".join(sorted(credentials)),
        )
        return result
    try:
        values.set(key, result, call.timeout)
    except UnstorableValue as error:
        _log.warning("%s is not cached: %s", call.function.__qualname__, error)
    return result


def _run_watched(call: Call) -> tuple[Any, frozenset[str]]:
    """The function's result, and what it read that identifies the user and is not in the key."""
    context = request_ctx._get_current_object() if has_request_context() else None  # type: ignore[attr-defined]  # noqa: SLF001
    if context is None or not isinstance(context.request, TrackedRequest):
        return _joined(call.run()), frozenset()
    covered = _covered(call.options, context)
    with Watch(context, write_fields) as watch:
        return _joined(call.run()), watch.credentials() - covered


def _joined(result: Any) -> Any:
    """What a generator made, as one text or as bytes where it is that, as in Flask-Caching."""
    if not inspect.isgenerator(result):
        return result
    chunks = list(result)
    for kind in (str, bytes):
        if chunks and all(isinstance(chunk, kind) for chunk in chunks):
            return kind().join(chunks)
    return chunks
