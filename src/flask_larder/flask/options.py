"""The options of ``cached``, checked where they are written."""

import inspect
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, Final, TypeAlias

from flask_larder.credentials import is_credential_field
from flask_larder.errors import InvalidPolicy
from flask_larder.flask.parsers import between, fraction, hash_method, seconds, stale_seconds
from flask_larder.flask.tagging import TagOption
from flask_larder.headers import is_field_name
from flask_larder.key import NO_QUERY, HashMethod, QueryRule
from flask_larder.policy import DEFAULT_STATUSES, storable_statuses

Timeout: TypeAlias = float | timedelta
"""Seconds or a ``timedelta``; 0 means "for ever", which is a year."""

URL_PREFIX: Final = "view/%s"
"""The ``key_prefix`` of a view: ``%s`` stands for its URL."""

Vary: TypeAlias = str | Iterable[str] | Callable[[], Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What ``cached`` or ``http_cached`` was given, in the form in which it is used for each call.

    *vary_fields* are names of header fields in lower case; *vary_by* is a function whose result
    joins the key. The four about staleness are as in a
    :class:`~flask_larder.policy.Policy`, ``None`` where they were not given. Where the policy is
    *by_response*, the responses' own fields state it. *before_flask* tells whether hits are
    answered before Flask; ``None`` means where the app runs nothing around the view.
    """

    key_prefix: str | Callable[[], str] = URL_PREFIX
    make_cache_key: Callable[..., str] | None = None
    query: QueryRule = NO_QUERY
    vary_fields: tuple[str, ...] = ()
    vary_by: Callable[[], Any] | None = None
    statuses: frozenset[int] = DEFAULT_STATUSES
    tags: TagOption = ()
    stale_while_revalidate: float | None = None
    stale_if_error: float | None = None
    jitter: float | None = None
    early_refresh: float | None = None
    unless: Callable[..., object] | None = None
    forced_update: Callable[..., object] | None = None
    is_stale: Callable[..., object] | None = None
    response_filter: Callable[[Any], object] | None = None
    hash_method: HashMethod | None = None
    source_check: bool | None = None
    cache_none: bool = False
    response_hit_indication: bool = False
    by_response: bool = False
    before_flask: bool | None = None

    template: str | None = field(init=False, repr=False, compare=False)
    """Into what the request's URL is put for the key, as for a view; ``None`` for a name."""
    is_template: bool = field(init=False, repr=False, compare=False)
    """Whether the key is made of the request's URL."""
    has_own_key: bool = field(init=False, repr=False, compare=False)
    """Whether a function makes the key."""
    asks_for_key: bool = field(init=False, repr=False, compare=False)
    """Whether a function makes the key, or a part of it."""
    asks_before_view: bool = field(init=False, repr=False, compare=False)
    """Whether a function runs, and may look at the request, before it is looked what is stored."""
    may_revalidate: bool = field(init=False, repr=False, compare=False)
    """Whether a request that nobody has sent can have the same key."""

    def __post_init__(self) -> None:
        self._derive()
        for name in _FLAGS:
            flag: Any = getattr(self, name)
            if not (flag is None or isinstance(flag, bool)):
                raise InvalidPolicy(f"{name} is {flag!r}; give True or False")
        prefix: Any = self.key_prefix
        if not (callable(prefix) or (isinstance(prefix, str) and prefix)):
            raise InvalidPolicy(
                f"key_prefix is {prefix!r}; give a function, or a text that is not empty"
            )
        for name in _FUNCTIONS:
            function: Any = getattr(self, name)
            is_usable = callable(function) and not inspect.iscoroutinefunction(function)
            if function is not None and not is_usable:
                raise InvalidPolicy(f"{name} is {function!r}; give a plain function, or None")

        if not self.may_revalidate and (self.stale_while_revalidate or self.early_refresh):
            raise InvalidPolicy(
                f"vary is {self.vary_fields!r}, and what is revalidated in the background is asked "
                f"for without what tells who asks; give neither stale_while_revalidate nor "
                f"early_refresh"
            )

    def _derive(self) -> None:
        """Tell once what is asked at each request."""
        prefix, has_name = self.key_prefix, self.make_cache_key is not None
        template = prefix if isinstance(prefix, str) and "%s" in prefix and not has_name else None
        has_own_key = has_name or callable(prefix)
        asks_for_key = has_own_key or self.vary_by is not None
        asks_whether = self.unless is not None or self.forced_update is not None
        for name, value in {
            "template": template,
            "is_template": template is not None,
            "has_own_key": has_own_key,
            "asks_for_key": asks_for_key,
            "asks_before_view": asks_for_key or asks_whether,
            "may_revalidate": not any(is_credential_field(name) for name in self.vary_fields),
        }.items():
            object.__setattr__(self, name, value)  # it is frozen


_FLAGS: Final = ("before_flask", "cache_none", "response_hit_indication", "source_check")
_FUNCTIONS: Final = (
    "make_cache_key",
    "vary_by",
    "unless",
    "forced_update",
    "is_stale",
    "response_filter",
)


def seconds_of(timeout: Timeout | None) -> float | None:
    """*timeout* in seconds, or ``None``. Raises ``InvalidPolicy``."""
    if timeout is None:
        return None
    if callable(timeout):
        raise InvalidPolicy(
            f"timeout is {timeout!r}; give no function, and write @cache.cached(), with "
            f"parentheses, where that is what it decorates"
        )
    try:
        return seconds(timeout)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidPolicy(
            f"timeout is {_shown(timeout)}; give seconds above 0, a timedelta, 0 for no end "
            f"(a year), or None for CACHE_DEFAULT_TIMEOUT"
        ) from error


def window_of(option: str, window: Timeout | None) -> float | None:
    """For how long something stale may be of use, in seconds, or ``None``."""
    try:
        return None if window is None else stale_seconds(window)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidPolicy(
            f"{option} is {_shown(window)}; give seconds from 0, a timedelta, or None for "
            f"CACHE_{option.upper()}"
        ) from error


def jitter_of(jitter: float | None) -> float | None:
    """Which part of a lifetime chance may take away, or ``None``."""
    try:
        return None if jitter is None else fraction(jitter)
    except (TypeError, ValueError) as error:
        raise InvalidPolicy(
            f"jitter is {jitter!r}; give a fraction from 0 to 0.9, or None for CACHE_JITTER"
        ) from error


def early_refresh_of(beta: float | None) -> float | None:
    """The beta of the early refresh; ``None`` where there is none."""
    try:
        return None if beta is None else (between(0, 100)(beta) or None)
    except (TypeError, ValueError) as error:
        raise InvalidPolicy(
            f"early_refresh is {beta!r}; give a number from 0 to 100, where 1 is the usual one, "
            f"or None for never"
        ) from error


def hash_method_of(method: Any) -> HashMethod | None:
    """What digests long keys; ``None`` means ``CACHE_HASH_METHOD``. Raises ``InvalidPolicy``."""
    try:
        return None if method is None else hash_method(method)
    except (TypeError, ValueError, AttributeError) as error:
        raise InvalidPolicy(
            f"hash_method is {method!r}; give a constructor of hashlib, or its name"
        ) from error


def query_rule(selected: bool | Iterable[str], ignored: Iterable[str]) -> QueryRule:
    """Which parameters of the query select, from ``query_string`` and ``ignore_query``."""
    ignored = _names("ignore_query", ignored)
    if isinstance(selected, bool):
        return QueryRule(None if selected else (), ignored)
    return QueryRule(_names("query_string", selected, "True, False, or "), ignored)


def exact_query(ignored: Iterable[str]) -> QueryRule:
    """The whole query as it is, but for what ``ignore_query`` names."""
    return QueryRule(None, _names("ignore_query", ignored), exact=True)


def vary_of(vary: Vary | None) -> tuple[tuple[str, ...], Callable[[], Any] | None]:
    """The header fields and the function that ``vary`` stands for; one of them at most."""
    if vary is None:
        return (), None
    if callable(vary):
        return (), vary
    given: Any = (vary,) if isinstance(vary, str) else vary
    names = tuple(given) if isinstance(given, Iterable) else ()
    if not names or not all(map(_is_name_of_field, names)):
        raise InvalidPolicy(f"vary is {vary!r}; give names of header fields, or one function")
    return tuple(sorted({name.lower() for name in names})), None


def _is_name_of_field(name: Any) -> bool:
    return isinstance(name, str) and is_field_name(name) and name != "*"


def statuses_of(statuses: Any) -> frozenset[int]:
    """The status codes to store; ``None`` means the ones that are by default."""
    if statuses is None:
        return DEFAULT_STATUSES
    if not isinstance(statuses, Iterable) or not all(type(code) is int for code in statuses):
        raise InvalidPolicy(f"statuses is {statuses!r}; give a sequence of codes, as in (200, 404)")
    return storable_statuses(statuses)


def call_with_fitting(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Call *function* with the arguments if it takes any, else without, as Flask-Caching does."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind != parameter.KEYWORD_ONLY for parameter in parameters):
        return function(*args, **kwargs)
    return function()


def _shown(seconds: Any) -> str:
    is_number = isinstance(seconds, int | float) and not isinstance(seconds, bool)
    return f"{seconds} s" if is_number else repr(seconds)


def _names(option: str, given: Any, others: str = "") -> tuple[str, ...]:
    is_sequence = isinstance(given, Iterable) and not isinstance(given, str)
    names = tuple(given) if is_sequence else ()
    if not is_sequence or not all(isinstance(name, str) for name in names):
        raise InvalidPolicy(
            f"{option} is {given!r}; give {others}a sequence of names, as in ('page',)"
        )
    return names
