"""A cached function that is no view: its result is kept as a value."""

import inspect
from collections.abc import Mapping
from typing import Any

from flask import current_app, has_request_context
from flask.ctx import RequestContext
from flask.globals import request_ctx

from flask_larder.errors import UnstorableValue
from flask_larder.flask.asking import core_request, host_is_refused
from flask_larder.flask.call import Call, OptionFailed
from flask_larder.flask.reads import (
    TrackedRequest,
    Watch,
    covered_by,
    note_selecting,
    track_requests,
)
from flask_larder.flask.values import NO_VALUE


def answer_value(call: Call) -> Any:
    """The stored value where there is one, else what the function returns."""
    if not call.wiring.enabled:
        return call.run()
    if not has_request_context():
        if call.options.is_template:
            call.warn("it has no key outside of requests; give key_prefix= a name without %s")
            return call.run()
        return _Evaluation(call, None).answer()
    context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    if not isinstance(context.request, TrackedRequest):
        track_requests(current_app)  # its class was replaced after init_app
        return call.run()
    if host_is_refused(context.request):
        return call.run()
    return _Evaluation(call, context).answer()


class _Evaluation:
    """One call's way to its value."""

    def __init__(self, call: Call, context: RequestContext | None) -> None:
        self._call = call
        self._context = context
        self._covered: frozenset[str] = frozenset()

    def answer(self) -> Any:
        """The value, stored or new."""
        call, values = self._call, self._call.wiring.values
        try:
            if call.bypasses():
                return call.run()
            is_forced = call.is_forced()
            key = self._key()
        except OptionFailed:
            return call.run()
        stored = NO_VALUE if is_forced else values.get(key)
        if stored is not NO_VALUE and not call.finds_stale(stored):
            return stored
        result, reason = self._run()
        if (result is None and not call.options.cache_none) or call.filters_out(result):
            return result
        if reason is not None:
            call.warn(reason)
            return result
        try:
            values.set(key, result, call.timeout)
        except UnstorableValue as error:
            call.warn(str(error))
        return result

    def _key(self) -> str:
        call, context = self._call, self._context
        if context is None:
            return call.key(None, is_view=False)
        note_selecting(call.options.vary_fields)
        with Watch(context) as making_key:
            key = call.key(core_request(context.request), is_view=False)
            self._covered = covered_by(call.options, making_key)
        return key

    def _run(self) -> tuple[Any, str | None]:
        """What the function returns, and why that is not to be kept."""
        call, context = self._call, self._context
        if context is None:
            return _joined(call.run()), None
        with Watch(context) as watch:
            result = _joined(call.run())
            lacking = watch.unkeyed()
            if call.options.is_template:
                # By its key it may be a view that was not recognised as one, and the user one
                # that was loaded before.
                lacking |= watch.unkeyed_before()
            lacking -= self._covered
            if not (call.options.has_own_key or call.options.vary_by):
                lacking |= {name for name in watch.names() if name.startswith("accept")}
                lacking -= set(call.options.vary_fields)
        if lacking:
            names = ", ".join(sorted(lacking))
            return result, f"{names} was read, which its key does not hold; give vary="
        if _looks_like_response(result):
            return result, (
                "it returns a response, but is not the view of the request; "
                "use functools.wraps in the decorators around it"
            )
        return result, None


def _looks_like_response(result: Any) -> bool:
    """Whether Flask would take *result* for a body with a status or with header fields."""
    if not isinstance(result, tuple) or len(result) not in {2, 3}:
        return False
    is_status = type(result[1]) is int and 100 <= result[1] <= 599
    return is_status or isinstance(result[-1], Mapping)


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
