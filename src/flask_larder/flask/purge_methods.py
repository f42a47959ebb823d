"""What a :class:`~flask_larder.Cache` can do about what is stored and no longer true."""

import inspect
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeAlias
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from flask import current_app, has_app_context, has_request_context, request

from flask_larder.errors import InvalidPurge
from flask_larder.flask.asking import core_request, name_of_key
from flask_larder.flask.current import request_context
from flask_larder.flask.endpoints import answers_request, decorated_in, wraps
from flask_larder.flask.options import Options
from flask_larder.flask.purging import (
    call_target,
    checked_soft,
    key_targets,
    name_of,
    path_target,
    prefix_target,
    purges_of,
    url_target,
    view_target,
)
from flask_larder.flask.tagging import checked_tags, give_tags, purgeable_tags
from flask_larder.flask.wiring import Wiring
from flask_larder.key import WHOLE_QUERY
from flask_larder.purges import Target

QueryArgs: TypeAlias = str | Mapping[str, Any] | Sequence[tuple[str, Any]]


class PurgeMethods:
    """The methods of a cache by which it forgets. *_options* has those of each function."""

    _options: WeakKeyDictionary[Any, Options]

    def _wiring(self) -> Wiring:
        raise NotImplementedError

    def delete(self, key: str) -> bool:
        """Forget what is under *key*."""
        raise NotImplementedError

    def tag(self, *tags: str) -> None:
        """Give *tags* to what is being made: inside a cached view, or what that calls.

        A page made from cached functions has their tags, too. More than 1,000, or one of more
        than 250 characters, and it is not stored. Outside of cached calls nothing happens.
        Raises ``InvalidPolicy`` for what is no text, or empty.
        """
        give_tags(checked_tags(tags))

    def purge_tags(self, *tags: str, soft: bool = False) -> None:
        """Forget all that has any of *tags*, in all processes; it takes no longer for many.

        A purge is final. When this has returned, no request that begins later gets what was made
        before, and neither does what is being made meanwhile come back. With *soft* it is stale
        rather than gone: used only where ``stale_while_revalidate`` or ``stale_if_error`` allow.

        Raises ``StoreUnavailable`` where Redis cannot be told; the purge may then have happened or
        not, so do it again. ``InvalidPurge`` for what is no tag.
        """
        self._purge([("tag", tag) for tag in purgeable_tags(tags)], soft=soft)

    def purge_url(self, url: str, *, soft: bool = False) -> None:
        """Forget the answers to *url*, as :meth:`purge_tags` does.

        ``/universities?country=Turkey`` is meant for each scheme and host, ``https://…`` for one.
        The order of the query does not matter. Answers whose key leaves out a part of the query
        are hit whatever the query is, since they answer all of them. A mount (``SCRIPT_NAME``) is
        part of the path.
        """
        self._purge([url_target(url)], soft=soft)

    def purge_path(self, path: str, *, soft: bool = False) -> None:
        """As :meth:`purge_url`, for any query."""
        self._purge([path_target(path)], soft=soft)

    def purge_prefix(self, prefix: str, *, soft: bool = False) -> None:
        """As :meth:`purge_path`, for all paths that begin with *prefix*, letter by letter.

        ``/api`` hits ``/apis``, too; ``/api/`` does not.
        """
        self._purge([prefix_target(prefix)], soft=soft)

    def purge_view(
        self, function: Callable[..., Any], /, *unnamed: Any, soft: bool = False, **arguments: Any
    ) -> None:
        """Forget what a view or function has answered, as :meth:`purge_tags` does.

        Without *arguments* all of it; with them, that for this one call, and then all arguments
        that have no default are to be given. They are compared as texts, and have to be plain:
        texts, numbers, dates, UUIDs, ``None``, or short tuples of them. One of the name ``soft``
        cannot be given, and none without its name.
        """
        function = self._decorated(function).uncached
        if unnamed:
            raise InvalidPurge(
                f"the purge of {name_of(function)} has the arguments {unnamed!r} without names; "
                f"give each by its name, as in purge(number=4)"
            )
        self._purge([view_target(function, arguments)], soft=soft)

    def delete_cached(
        self,
        function: Callable[..., Any],
        /,
        path: str | None = None,
        query_args: QueryArgs | None = None,
        **arguments: Any,
    ) -> bool:
        """Forget one answer of a cached view or function, as Flask-Caching does; ``True`` if so.

        Where the key has a name (``make_cache_key``, ``key_prefix``), *arguments* are given to
        the function that makes it, and what is there is deleted; all that the key is a part of,
        by header fields, the query or the user, is purged. ``False`` where nothing was under the
        name itself; a purge cannot tell.

        Otherwise the call with *arguments* is purged, at all routes of the view and for all
        queries, or without these the URL of the current request, if the view answers that. *path*
        names another URL, and *query_args*, a text, a mapping or pairs, one query, where that is
        part of the key. A view's own argument of the name ``path`` can be given to
        :meth:`purge_view`.
        """
        decorated = self._decorated(function)
        options = self._options[decorated]
        if options.is_template:
            targets = _targets_of_answer(decorated, options, path, query_args, arguments)
            self._purge(targets, soft=False)
            return True
        # There is no URL in such a key: these, too, are arguments.
        given = {"path": path, "query_args": query_args}
        arguments |= {name: value for name, value in given.items() if value is not None}
        owner = getattr(function, "__self__", None)  # that of a method
        args = () if owner is None else (owner,)
        _check_call(options.make_cache_key, args, arguments)
        return self._delete_name(name_of_key(options, args, arguments))

    def _decorated(self, function: Any) -> Any:
        """The cached function that *function* is, or is a decorator around."""
        found = decorated_in(getattr(function, "__func__", function), self._options)
        if found is not None:
            return found
        raise InvalidPurge(f"{function!r} is not cached by {self!r}; give a decorated function")

    def _delete_name(self, name: str) -> bool:
        """Forget what is under *name*, and purge what else belongs to that or comes later."""
        was_there = self.delete(name)
        if self._wiring().has_purges:
            self._purge(key_targets(name), soft=False)
        return was_there

    def _purge(self, targets: Sequence[Target], *, soft: bool) -> None:
        purges = purges_of(targets, soft=checked_soft(soft))
        if purges:
            self._wiring().purges.add(*purges)


def _check_call(
    make: Callable[..., str] | None, args: tuple[Any, ...], arguments: dict[str, Any]
) -> None:
    """Raise ``InvalidPurge`` where *make* cannot make a key of these arguments."""
    try:
        if make is not None:
            inspect.signature(make).bind(*args, **arguments)
    except ValueError:  # it does not tell what it takes
        return
    except TypeError as error:
        raise InvalidPurge(
            f"make_cache_key cannot be given {sorted(arguments)}: {error}; name the arguments as "
            f"in delete_cached(view, number=7)"
        ) from error


def _targets_of_answer(
    function: Any,
    options: Options,
    path: str | None,
    query_args: QueryArgs | None,
    arguments: dict[str, Any],
) -> list[Target]:
    """One answer of a view: by its URL, where that is told or is the current one, or its call."""
    query = _query_text(query_args)
    context = None if arguments else request_context()
    is_here = context is not None and answers_request(function, context)
    if path is not None:
        paths = [path]
    elif is_here:
        asked = core_request(request)
        paths = [asked.script_name + asked.path]
        query = WHOLE_QUERY.canonical(asked.query) if query_args is None else query
    elif query_args is not None:
        paths = _paths_of(function, arguments)
        if not paths:
            raise InvalidPurge(
                f"{function!r} has no route in this app for the arguments {sorted(arguments)}; "
                f"give path="
            )
    else:
        return _targets_of_call(function, arguments)
    if options.query.is_empty:
        return [path_target(each) for each in paths]
    return [url_target(f"{each}?{query}" if query else each) for each in paths]


def _targets_of_call(function: Any, arguments: dict[str, Any]) -> list[Target]:
    """One call of a view: a route's converter may make of *arguments* what no purge can name."""
    by_path = [path_target(each) for each in _paths_of(function, arguments)]
    try:
        return [*by_path, call_target(function.uncached, arguments)]
    except InvalidPurge:
        if not by_path:
            raise
        return by_path


def _paths_of(function: Callable[..., Any], arguments: dict[str, Any]) -> list[str]:
    """The paths of those of a view's routes that take *arguments*."""
    if not has_app_context():
        return []
    if has_request_context():
        mount = core_request(request).script_name
    else:
        mount = current_app.config["APPLICATION_ROOT"].rstrip("/")
    paths: list[str] = []
    for rule in current_app.url_map.iter_rules():
        if wraps(current_app.view_functions.get(rule.endpoint), function):
            values = {**arguments}
            current_app.inject_url_defaults(rule.endpoint, values)
            with suppress(TypeError, ValueError):  # a converter does not take such an argument
                built = rule.suitable_for(values) and rule.build(values, append_unknown=False)
                paths += [mount + built[1]] if built else []
    return paths


def _query_text(query_args: QueryArgs | None) -> str:
    """A query string, from itself, a mapping or pairs, as ``delete_cached`` takes it."""
    if query_args is None:
        return ""
    return (
        query_args.lstrip("?") if isinstance(query_args, str) else urlencode(query_args, doseq=True)
    )
