"""One call of a decorated function, and the questions that its options answer."""

import inspect
import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from flask import current_app, has_app_context, has_request_context
from flask import request as current_request

from flask_larder.entry import Request
from flask_larder.flask.asking import key_of, source_of
from flask_larder.flask.options import Options, call_with_fitting
from flask_larder.flask.wiring import Wiring

_log = logging.getLogger("flask_larder")


@dataclass(frozen=True, slots=True)
class Call:
    """What to run, with what, and under which options.

    *cache* is the :class:`~flask_larder.Cache`, the sender of signals. *timeout* is in seconds.
    """

    cache: object
    wiring: Wiring
    options: Options
    timeout: float
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    @property
    def name(self) -> str:
        """The function's name, for logs."""
        return f"{self.function.__module__}.{self.function.__qualname__}"

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

    def key(self, request: Request | None) -> str | None:
        """The key, or ``None`` where a function that makes it raised; in debug mode it raises."""
        checked = self.options.source_check
        if checked is None:
            checked = self.wiring.settings["CACHE_SOURCE_CHECK"]
        source = source_of(self.function) if checked else None
        try:
            return key_of(self.options, request, source, self.args, self.kwargs)
        except Exception:
            if has_app_context() and current_app.debug:
                raise
            _log.exception("The key of %s cannot be made; it runs uncached", self.name)
            return None

    def warn(self, why: str) -> None:
        """Log, once for each function, that it is not cached, and *why*."""
        if self.name not in self.wiring.warned:
            self.wiring.warned.add(self.name)
            _log.warning("%s is not cached: %s", self.name, why)


def is_view(call: Call, decorated: Callable[..., Any]) -> bool:
    """Whether what *decorated* returns is to be kept as a response rather than as a value."""
    if call.options.has_own_key:
        return has_request_context() and _answers_request(decorated)
    prefix = call.options.key_prefix
    return isinstance(prefix, str) and "%s" in prefix


def _answers_request(function: Callable[..., Any]) -> bool:
    """Whether *function* is the view of the current request, maybe beneath further decorators.

    A key of its own does not tell a view from a function that a view calls.
    """
    view: Any = current_app.view_functions.get(current_request.endpoint or "")
    candidates = [view]
    if view_class := getattr(view, "view_class", None):
        names = (current_request.method.lower(), "get", "dispatch_request")
        candidates += [getattr(view_class, name, None) for name in names]
    return any(_wraps(candidate, function) for candidate in candidates)


def _wraps(outer: Any, function: Callable[..., Any]) -> bool:
    while outer is not None and outer is not function:
        outer = getattr(outer, "__wrapped__", None)
    return outer is not None
