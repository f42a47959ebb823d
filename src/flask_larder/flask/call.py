"""One call of a decorated function, and the questions that its options answer."""

import inspect
import logging
import time
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any, Final

from flask import current_app, has_app_context
from msgspec import Struct
from werkzeug.exceptions import HTTPException

from flask_larder.entry import Request, Targets
from flask_larder.flask.asking import Asked, asked_of, source_of
from flask_larder.flask.current import this_app
from flask_larder.flask.named_reads import unnamed
from flask_larder.flask.options import Options, call_with_fitting
from flask_larder.flask.purging import arguments_of, defaults_of, is_plain, name_of
from flask_larder.flask.tagging import checked_tags
from flask_larder.flask.wiring import Wiring, tell
from flask_larder.policy import Policy, Reason

_log = logging.getLogger("flask_larder")


# What other options look at decides what is done with an answer, and not what is in it.
_READ_FOR_THE_ANSWER: Final = frozenset({"key", "unless"})


class OptionFailed(Exception):
    """A function among the options raised; that has been logged, and the cache is left alone."""


class Call(Struct, frozen=True):
    """What to run, with what, and under which options.

    *cache* is the :class:`~flask_larder.Cache`, the sender of signals, *decorated* what was
    called, which runs *function*. *timeout* is in seconds, ``None`` where the response tells.
    """

    cache: object
    wiring: Wiring
    options: Options
    timeout: float | None
    decorated: Callable[..., Any]
    function: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: dict[str, Any]

    def has_arguments_of(self, other: "Call") -> bool:
        """Whether its arguments are the same as those of *other*, as far as that can be told."""
        own, others = self.args, other.args
        names = self.kwargs.keys()
        if len(own) != len(others) or names != other.kwargs.keys():
            return False
        pairs = [
            *zip(own, others, strict=True),
            *((self.kwargs[n], other.kwargs[n]) for n in names),
        ]
        return all(a is b or (is_plain(a) and type(a) is type(b) and a == b) for a, b in pairs)

    @property
    def name(self) -> str:
        """The function's name, for logs, keys and purges."""
        return name_of(self.function)

    def run(self) -> Any:
        """What the function returns, also where it is a coroutine function."""
        function = self.function
        if has_app_context():
            function = this_app().ensure_sync(function)
        return function(*self.args, **self.kwargs)

    def policy(self, covered: frozenset[str]) -> Policy:
        """What the engine is to go by; *covered* is what the key holds of who asks."""
        options, settings = self.options, self.wiring.settings
        left_out = self.wiring.left_out
        is_left_out = bool(left_out) and time.monotonic() < left_out.get(self.name, 0.0)
        while_revalidate, if_error = options.stale_while_revalidate, options.stale_if_error
        if while_revalidate is None:
            while_revalidate = settings["CACHE_STALE_WHILE_REVALIDATE"]
        if if_error is None:
            if_error = settings["CACHE_STALE_IF_ERROR"]
        return Policy(
            timeout=self.timeout,
            statuses=options.statuses,
            covered=covered,
            body_limit=settings["CACHE_MAX_BODY_BYTES"],
            stale_while_revalidate=while_revalidate,
            stale_if_error=if_error,
            keep=settings["CACHE_KEEP_STALE"],
            targeted=settings["CACHE_TARGETED_FIELDS"],
            jitter=self.jitter,
            early_refresh=options.early_refresh,
            may_revalidate=options.may_revalidate and not is_left_out,
        )

    @property
    def jitter(self) -> float:
        """Which part of its lifetime chance may take away."""
        jitter, setting = self.options.jitter, self.wiring.settings["CACHE_JITTER"]
        return setting if jitter is None else jitter

    def bypasses(self) -> bool:
        """Whether ``unless`` keeps this call away from the cache. Raises ``OptionFailed``."""
        unless = self.options.unless
        return unless is not None and bool(
            self._ask("unless", call_with_fitting, unless, self.function, *self.args, **self.kwargs)
        )

    def is_forced(self) -> bool:
        """Whether ``forced_update`` wants what is stored replaced. Raises ``OptionFailed``."""
        forced = self.options.forced_update
        return forced is not None and bool(
            self._ask("forced_update", call_with_fitting, forced, *self.args, **self.kwargs)
        )

    def finds_stale(self, stored: Any) -> bool:
        """Whether ``is_stale`` rejects what is stored, or raises."""
        is_stale = self.options.is_stale
        if is_stale is None:
            return False
        try:
            return bool(self._ask("is_stale", self._call_is_stale, is_stale, stored))
        except OptionFailed:
            return True

    def _call_is_stale(self, is_stale: Callable[..., Any], stored: Any) -> Any:
        if len(inspect.signature(is_stale).parameters) > 1:
            return is_stale(stored, *self.args, **self.kwargs)
        return is_stale(stored)

    def refusal_of(self, result: Any) -> Reason | None:
        """Why ``response_filter`` does not want *result* stored, if that is so."""
        response_filter = self.options.response_filter
        if response_filter is None:
            return None
        try:
            is_wanted = self._ask("response_filter", response_filter, result)
        except OptionFailed:
            return "option-failed"
        return None if is_wanted else "response-filter"

    def tags(self) -> tuple[str, ...]:
        """What the option ``tags`` says for this call. Raises ``OptionFailed``."""
        tags = self.options.tags
        if not callable(tags):
            return checked_tags(tags) if tags else ()
        make: Callable[..., Any] = tags
        found: tuple[str, ...] = self._ask(
            "tags", lambda: checked_tags(call_with_fitting(make, *self.args, **self.kwargs))
        )
        return found

    def expected(self, given: Iterable[str], asked: Targets, *, asks: bool) -> Targets:
        """As :meth:`targets`, before the call ends: with the tags *given* by now.

        And those of the option; of a function only if that *asks*. It raises nothing.
        """
        known: tuple[str, ...] = ()
        if asks or not callable(self.options.tags):
            with suppress(Exception):  # in debug mode it raises what it likes
                known = self.tags()
        return self.targets((*given, *known), asked)

    def targets(self, tags: Iterable[str], asked: Targets) -> Targets:
        """By what purges is hit what this call makes; *asked* are those of what it asks for."""
        holds_query = self.options.is_template and self.options.query.is_whole
        return Targets(
            tags=tuple(tags),
            view=self.name,
            arguments=arguments_of(self.function, self.args, self.kwargs),
            site=asked.site,
            path=asked.path,
            query=asked.query if holds_query else None,
            key=asked.key,
        )

    def tell_ignored_arguments(self, made_with: Targets) -> None:
        """Log it, once, where what is sent was made for other arguments, or may have been.

        That can be where the key has a name, and then holds none, or is a URL's.
        """
        options = self.options
        if options.has_own_key or made_with.view != self.name:
            return
        arguments = arguments_of(self.function, self.args, self.kwargs)
        if arguments and made_with.arguments:
            if arguments != made_with.arguments:
                self.wiring.tell_once(
                    f"{self.name} was called with other arguments, and got what was kept for the "
                    f"first ones, since its key holds none: give make_cache_key="
                )
            return
        is_error_handler = any(isinstance(each, Exception) for each in self.args)
        if not (options.is_template or options.asks_for_key or is_error_handler):
            self.wiring.tell_once(
                f"{self.name} was called with arguments that cannot be told apart, and may have "
                f"got what was kept for others, since its key holds none: give make_cache_key="
            )

    def asked(self, request: Request | None, *, is_view: bool) -> Asked:
        """What this call asks for. Raises ``OptionFailed``."""
        owner = (
            None if is_view else f"{self.name}{defaults_of(inspect.unwrap(self.function)) or ''}"
        )
        checked = self.options.source_check
        if checked is None:
            checked = self.wiring.settings["CACHE_SOURCE_CHECK"]
        source = source_of(self.function) if checked else None
        asked: Asked = self._ask(
            "key", asked_of, self.options, request, owner, source, self.args, self.kwargs
        )
        return asked

    def _ask(self, option: str, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        try:
            if option in _READ_FOR_THE_ANSWER:
                return function(*args, **kwargs)
            with unnamed():
                return function(*args, **kwargs)
        except HTTPException as error:  # such as for a parameter that the request lacks
            raise OptionFailed from error
        except Exception as error:
            if has_app_context() and current_app.debug:
                raise
            self.warn(f"its {option} raised", exc_info=True)
            raise OptionFailed from error

    def warn(self, why: str, *, exc_info: bool = False) -> None:
        """Log that the function is not cached, and *why*; once for each function and reason."""
        self.wiring.tell_once(f"{self.name} is not cached: {why}", exc_info=exc_info)

    def tell_inside(self, why: str) -> None:
        """Log, for who debugs, that hits are answered inside Flask, and *why*; once."""
        if not _log.isEnabledFor(logging.DEBUG):
            return
        line = f"hits of {self.name} are answered inside Flask: {why}"
        if self.wiring.is_first(line):
            _log.debug("%s", line)

    def tell_fault(self, line: str) -> None:
        """Log the error that is handled now, with what comes of it in *line*; once."""
        if self.wiring.is_first(line):
            _log.exception("%s", line)

    def leave_out(self, why: str, seconds: float) -> None:
        """Revalidate it no more in the background for *seconds*, and log *why*, once."""
        self.wiring.left_out[self.name] = time.monotonic() + seconds
        self.wiring.tell_once(f"{self.name} is not revalidated in the background: {why}")

    def tell_failure(self, how: str) -> None:
        """Log that its answers are errors which nobody sees, and *how*; once a minute at most."""
        if self.wiring.may_tell(self.name):
            tell(f"{self.name} fails, and what was stored is sent: {how}")
