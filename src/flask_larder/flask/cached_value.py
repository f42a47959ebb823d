"""A cached function that is no view: its result is kept as a value."""

import inspect
from typing import Any

from flask import has_request_context
from flask import request as current_request
from flask.globals import request_ctx

from flask_larder.errors import UnstorableValue
from flask_larder.flask.asking import core_request, host_is_refused
from flask_larder.flask.call import Call
from flask_larder.flask.outcome import write_fields
from flask_larder.flask.reads import TrackedRequest, Watch, covered_credentials, note_selecting
from flask_larder.flask.values import NO_VALUE


def answer_value(call: Call) -> Any:
    """The stored value where there is one, else what the function returns."""
    key = _key_of(call)
    if key is None:
        return call.run()
    stored = NO_VALUE if call.is_forced() else call.wiring.values.get(key)
    if stored is not NO_VALUE and not call.finds_stale(stored):
        return stored
    result, credentials = _run_watched(call)
    if (result is None and not call.options.cache_none) or call.filters_out(result):
        return result
    if credentials:
        read = ", ".join(sorted(credentials))
        call.warn(f"it read {read}, which its key does not hold; give vary=")
        return result
    try:
        call.wiring.values.set(key, result, call.timeout)
    except UnstorableValue as error:
        call.warn(str(error))
    return result


def _key_of(call: Call) -> str | None:
    """The key, or ``None`` where the cache is to be left alone."""
    request = current_request if has_request_context() else None
    if not call.wiring.enabled or (request and host_is_refused(request)) or call.bypasses():
        return None
    note_selecting(call.options.vary_fields)
    return call.key(core_request(request) if request else None)


def _run_watched(call: Call) -> tuple[Any, frozenset[str]]:
    """The function's result, and what it read that identifies the user and is not in the key."""
    context = request_ctx._get_current_object() if has_request_context() else None  # type: ignore[attr-defined]  # noqa: SLF001
    if context is None or not isinstance(context.request, TrackedRequest):
        return _joined(call.run()), frozenset()
    covered = covered_credentials(call.options, context)
    with Watch(context, write_fields) as watch:
        return _joined(call.run()), watch.credentials() - covered


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
