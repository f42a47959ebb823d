"""The extension: :class:`Cache`."""

import functools
import weakref
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any, Final, Never, ParamSpec, TypeVar, cast

from flask import Flask
from werkzeug.local import LocalProxy

from flask_larder.errors import InvalidConfig, InvalidPolicy, NotInitialised
from flask_larder.flask.cached_function import CachedFunction
from flask_larder.flask.cached_value import answer_value
from flask_larder.flask.cached_view import answer_view
from flask_larder.flask.call import Call
from flask_larder.flask.current import request_context, this_app
from flask_larder.flask.endpoints import answers_request, is_view
from flask_larder.flask.invalidation import register_invalidation
from flask_larder.flask.options import (
    URL_PREFIX,
    Options,
    Timeout,
    Vary,
    early_refresh_of,
    exact_query,
    hash_method_of,
    jitter_of,
    query_rule,
    seconds_of,
    statuses_of,
    vary_of,
    window_of,
)
from flask_larder.flask.outcome import make_responses_once
from flask_larder.flask.placement import forget, place
from flask_larder.flask.purge_methods import PurgeMethods
from flask_larder.flask.purging import checked_soft, name_of
from flask_larder.flask.settings import Settings
from flask_larder.flask.tagging import TagOption, tags_of
from flask_larder.flask.tracking import caches_of, track_requests
from flask_larder.flask.value_methods import ValueMethods
from flask_larder.flask.wiring import Wiring, wire
from flask_larder.key import HashMethod

P = ParamSpec("P")
R = TypeVar("R")


class Cache(ValueMethods, PurgeMethods):
    """A cache for the responses of views, and for values, of one Flask app or of several.

    *app* is initialised at once where it is given, with *config*; see :meth:`init_app`.
    *name* distinguishes several caches of one app in logs.
    """

    def __init__(
        self,
        app: Flask | None = None,
        *,
        config: Mapping[str, Any] | None = None,
        name: str = "cache",
    ) -> None:
        self.name = name
        self._config = dict(_checked_config(config))
        self._apps: weakref.WeakSet[Flask] = weakref.WeakSet()
        self._options: weakref.WeakKeyDictionary[Any, Options] = weakref.WeakKeyDictionary()
        self._tagged: str | None = None  # the name of a function whose answers have tags
        if app is not None:
            self.init_app(app)

    def __repr__(self) -> str:
        return f"<Cache {self.name!r}>"

    if not TYPE_CHECKING:  # a type checker knows by itself what is missing

        def __getattr__(self, name: str) -> Any:
            remedy = _ELSEWHERE.get(name)
            hint = "" if remedy is None else f"; {remedy}"
            raise AttributeError(f"a Cache has no {name}{hint}", name=name, obj=self)

    def init_app(self, app: Flask, config: Mapping[str, Any] | None = None) -> None:
        """Prepare *app*, with the ``CACHE_*`` settings of ``app.config``.

        What is in *config*, and before it in the one given to :class:`Cache`, stands above the
        app's. Connects to nothing yet. Raises ``InvalidConfig`` for a value that cannot be used.
        """
        given: Any = app._get_current_object() if isinstance(app, LocalProxy) else app  # noqa: SLF001
        if not isinstance(given, Flask):
            raise InvalidConfig(f"app is {given!r}; give the application, an instance of Flask")
        app = given
        settings = Settings({**app.config, **self._config, **_checked_config(config)})
        wiring = wire(settings, self._options)
        self._check_tags(wiring)
        caches_of(app)[self] = wiring
        track_requests(app)
        make_responses_once(app)
        if settings["CACHE_INVALIDATE_UNSAFE"]:
            register_invalidation(app)
        forget(app)
        if settings["CACHE_BEFORE_FLASK"]:
            place(app)
        self._apps.add(app)

    def cached(  # noqa: PLR0913, PLR0917 - the options of Flask-Caching, and ours
        self,
        timeout: Timeout | None = None,
        key_prefix: str | Callable[[], str] = URL_PREFIX,
        unless: Callable[..., object] | None = None,
        forced_update: Callable[..., object] | None = None,
        is_stale: Callable[..., object] | None = None,
        response_filter: Callable[[Any], object] | None = None,
        query_string: bool | Iterable[str] = False,
        hash_method: HashMethod | None = None,
        cache_none: bool = False,
        make_cache_key: Callable[..., str] | None = None,
        source_check: bool | None = None,
        response_hit_indication: bool = False,
        *,
        ignore_query: Iterable[str] = (),
        vary: Vary | None = None,
        statuses: Collection[int] | None = None,
        tags: TagOption = None,
        stale_while_revalidate: Timeout | None = None,
        stale_if_error: Timeout | None = None,
        jitter: float | None = None,
        early_refresh: float | None = None,
        before_flask: bool | None = None,
    ) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
        """Cache the responses of a view, or the results of a function.

        Put it below ``@app.route``. The key is the URL: scheme, host, path and, where asked
        for, the query. Responses with ``Set-Cookie``, those that their ``Cache-Control`` keeps
        private, and those made by looking at who is asking are never stored; the header
        ``Cache-Status`` of each answer tells what was done and why.

        :param timeout: for how long a response is fresh, in seconds or as a ``timedelta``.
            ``None`` means ``CACHE_DEFAULT_TIMEOUT``, 0 a year. A ``max-age``, ``s-maxage`` or
            ``Expires`` of the response can only shorten it.
        :param key_prefix: with ``%s``, a view's: the URL is put there, so that views with
            different prefixes never share. Without, the function's result is kept as a value
            under this name, where :meth:`get` and :meth:`delete` find it too. A callable
            returns the whole name of the key.
        :param unless: a function; where it returns something true, the cache is left alone. It
            gets the view and its arguments if it takes any.
        :param forced_update: a function, which may take the view's arguments; where it returns
            something true, the view runs and its response replaces the stored one.
        :param is_stale: a function that gets the stored response, or value, and may take the
            view's arguments; something true means that it is not to be used.
        :param response_filter: a function that gets what the view returned; something false
            means that it is not to be stored.
        :param query_string: ``True`` makes the whole query part of the key, whatever its order;
            a sequence of names just these parameters. ``False``: the query is no part of it.
        :param hash_method: what digests a key that is too long; ``None`` means
            ``CACHE_HASH_METHOD``.
        :param cache_none: whether a function's ``None`` is kept as a value.
        :param make_cache_key: a function that gets the view's arguments and returns the name of
            the key. Stands above *key_prefix*.
        :param source_check: whether the function's source code is part of the key; ``None``
            means ``CACHE_SOURCE_CHECK``.
        :param response_hit_indication: adds the header ``hit_cache: True`` to hits.
        :param ignore_query: patterns for names of parameters that are no part of the key, such
            as ``("utm_*",)``.
        :param vary: names of request header fields that select, or a function, for answers that
            differ by user: its result joins the key, and what it or anything before the view
            read of cookies, session and ``Authorization`` counts as told apart by it.
        :param statuses: the status codes that are stored; ``None`` means 200, 203, 204, 301, 308.
        :param tags: names by which :meth:`purge_tags` finds what is stored, beside those that
            :meth:`tag` gives: a sequence, or a function that gets the view's arguments and
            returns one; ``None`` means none.
        :param stale_while_revalidate: for how long a view's response that is no longer fresh is
            still sent, in seconds or as a ``timedelta``, while the view runs in the background,
            for a request without cookies and ``Authorization`` (RFC 5861 section 3). ``None``
            means ``CACHE_STALE_WHILE_REVALIDATE``, 0 never.
        :param stale_if_error: for how long it is sent in place of an error: an exception, or a
            status of 500 and more (RFC 5861 section 4). ``None`` means ``CACHE_STALE_IF_ERROR``.
        :param jitter: which part of its lifetime, from 0 to 0.9, chance may take from what is
            stored, so that what is stored together does not expire together. ``None`` means
            ``CACHE_JITTER``.
        :param early_refresh: makes a response anew in the background before it expires, the
            likelier, the nearer that is, the longer the view took, and the higher this number is
            (the beta of XFetch, Vattani et al. 2015, 1 is usual). ``None`` means never.
        :param before_flask: whether hits may be answered before Flask. ``None`` means where the app
            runs nothing around this view; ``False`` never. ``True`` means also where it does, and
            skips, on a hit: functions of ``before_request``, ``after_request``,
            ``teardown_request`` and ``url_value_preprocessor``, and the signals of requests. A
            decorator around the view is not skipped. ``CACHE_BEFORE_FLASK`` stands above it.

        Raises ``InvalidPolicy`` for an option that cannot be used.
        """
        vary_fields, vary_by = vary_of(vary)
        options = Options(
            key_prefix=key_prefix,
            make_cache_key=make_cache_key,
            query=query_rule(query_string, ignore_query),
            vary_fields=vary_fields,
            vary_by=vary_by,
            statuses=statuses_of(statuses),
            tags=tags_of(tags),
            stale_while_revalidate=window_of("stale_while_revalidate", stale_while_revalidate),
            stale_if_error=window_of("stale_if_error", stale_if_error),
            jitter=jitter_of(jitter),
            early_refresh=early_refresh_of(early_refresh),
            before_flask=before_flask,
            unless=unless,
            forced_update=forced_update,
            is_stale=is_stale,
            response_filter=response_filter,
            hash_method=hash_method_of(hash_method),
            source_check=source_check,
            cache_none=cache_none,
            response_hit_indication=response_hit_indication,
        )
        return functools.partial(self._decorate, options, timeout, seconds_of(timeout))

    def http_cached(
        self,
        *unnamed: Never,
        unless: Callable[..., object] | None = None,
        response_filter: Callable[[Any], object] | None = None,
        vary: Vary | None = None,
        ignore_query: Iterable[str] = (),
        tags: TagOption = None,
        stale_while_revalidate: Timeout | None = None,
        stale_if_error: Timeout | None = None,
        before_flask: bool | None = None,
    ) -> Callable[[Callable[P, R]], CachedFunction[P, R]]:
        """Cache the responses of a view as their own header fields say.

        For views that set ``Cache-Control`` themselves, or hand on what another server has
        answered. It is what a shared cache does (RFC 9111): ``s-maxage``, ``max-age``, ``Expires``
        or, failing these, ``Last-Modified`` tell for how long a response is fresh, and one that
        says nothing is not stored. The client's ``Cache-Control`` counts, too. The key is the URL
        with its whole query, as it is.

        A view is asked whether a response is still the same by ``If-None-Match`` and
        ``If-Modified-Since``, if that had an ``ETag`` or ``Last-Modified``. It may answer 304.

        What looked at cookies is stored if it is ``public`` or has ``s-maxage``, or if its ``Vary``
        names them; what looked at the session is not, unless *vary* tells users apart.

        :param unless: as for :meth:`cached`, and so are *response_filter*, *vary*, *ignore_query*
            and *tags*.
        :param stale_while_revalidate: for how long a response that says nothing of it is sent
            when it is no longer fresh, as for :meth:`cached`. One that says something may have
            more.
        :param stale_if_error: as *stale_while_revalidate*, in place of an error.
        :param before_flask: as for :meth:`cached`.

        Raises ``InvalidPolicy`` for an option that cannot be used.
        """
        if unnamed:
            raise InvalidPolicy(
                f"http_cached is given {unnamed[0]!r}; it takes named options only, and needs its "
                f"parentheses: @cache.http_cached()"
            )
        vary_fields, vary_by = vary_of(vary)
        options = Options(
            by_response=True,
            query=exact_query(ignore_query),
            vary_fields=vary_fields,
            vary_by=vary_by,
            tags=tags_of(tags),
            stale_while_revalidate=window_of("stale_while_revalidate", stale_while_revalidate),
            stale_if_error=window_of("stale_if_error", stale_if_error),
            before_flask=before_flask,
            unless=unless,
            response_filter=response_filter,
        )
        return functools.partial(self._decorate, options, None, None)

    def _decorate(
        self,
        options: Options,
        timeout: Timeout | None,
        given: float | None,
        function: Callable[P, R],
    ) -> CachedFunction[P, R]:
        """Wrap *function*. *given* is *timeout* in seconds."""
        if isinstance(function, type) or not callable(function):
            raise InvalidPolicy(f"{function!r} cannot be cached; put the decorator on a function")

        @functools.wraps(function)
        def wrapper(*args: P.args, **kwargs: P.kwargs) -> Any:
            wiring = self._wiring()
            # Parsed already, unless it was changed since. What goes by the response has none.
            seconds = given
            if not options.by_response and (
                given is None or decorated.cache_timeout is not timeout
            ):
                seconds = self._timeout_of(wiring, decorated, given)
            call = Call(self, wiring, options, seconds, decorated, function, args, kwargs)
            context = request_context()
            is_outermost = context is not None and is_view(decorated, context)
            if context is not None and (is_outermost or answers_request(decorated, context)):
                return answer_view(call, context, is_outermost=is_outermost)
            return answer_value(call)

        decorated = cast("CachedFunction[P, R]", wrapper)
        decorated.uncached = function
        decorated.cache_timeout = timeout
        decorated.purge = functools.partial(self.purge_view, decorated)
        self._options[decorated] = options
        if options.tags != ():
            self._tagged = name_of(function)
            for app in self._apps:
                self._check_tags(caches_of(app)[self])
        return decorated

    def clear(self, *, soft: bool = False) -> bool:
        """Forget all responses and values under this cache's ``CACHE_KEY_PREFIX``; ``True``.

        In Redis that is one purge, which takes no longer for many; the memory is free when the
        entries have expired. With *soft* everything is stale rather than gone. Raises
        ``StoreUnavailable`` where it cannot be done.
        """
        self._wiring().clear(soft=checked_soft(soft))
        return True

    def ping(self, timeout: float = 1.0) -> None:
        """Return if the store answers within *timeout* seconds, else raise ``StoreUnavailable``."""
        self._wiring().store.ping(timeout)

    def _check_tags(self, wiring: Wiring) -> None:
        if self._tagged is not None and not wiring.has_purges:
            raise InvalidConfig(
                f"{self._tagged} has tags, and a CACHE_TYPE of files or memcached has no log of "
                f"purges; set it to RedisCache, or remove tags="
            )

    def _wiring(self) -> Wiring:
        try:
            app = this_app()
        except RuntimeError:  # there is no context
            app = self._only_app()
        wiring: Wiring | None = caches_of(app).get(self)
        if wiring is None:
            raise NotInitialised(f"{self!r} does not know {app!r}; call init_app with it first")
        return wiring

    def _only_app(self) -> Flask:
        apps = list(self._apps)
        if len(apps) == 1:
            return apps[0]
        if not apps:
            raise NotInitialised(f"{self!r} has no app, or none that is left; call init_app first")
        raise NotInitialised(
            f"{self!r} cannot tell which app is meant, since {len(apps)} use it; "
            f"use it inside `with app.app_context():`"
        )

    def _timeout_of(
        self, wiring: Wiring, decorated: CachedFunction[..., Any], given: float | None
    ) -> float:
        """The ``cache_timeout`` of *decorated*; the one it was *given* where that is none."""
        try:
            return self._seconds(decorated.cache_timeout)
        except InvalidPolicy as error:
            name = name_of(decorated.uncached)
            wiring.tell_once(f"{name}.cache_timeout does not count: {error}")
            return self._seconds(given)


_ELSEWHERE: Final = {
    "memoize": "give cached() make_cache_key=, or see docs/how-to/move-from-flask-caching.md",
    "delete_memoized": "use .purge() of the decorated function",
    "delete_memoized_verhash": "use .purge() of the decorated function",
    "unlink": "use delete()",
    "cache": "call its methods on this object itself",
    "app": "use current_app",
}
"""What Flask-Caching has and what does the same here."""


def _checked_config(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    if not isinstance(config, Mapping | None):
        raise InvalidConfig(f"config is {config!r}; give a mapping of CACHE_* settings, or None")
    return config or {}
