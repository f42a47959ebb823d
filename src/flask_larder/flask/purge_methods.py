"""What a :class:`~flask_larder.Cache` can do about what is stored and no longer true."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias
from urllib.parse import urlencode
from weakref import WeakKeyDictionary

from flask import current_app, has_request_context, request, url_for

from flask_larder.errors import InvalidPurge
from flask_larder.flask.call import answers_request, wraps
from flask_larder.flask.options import Options, call_with_fitting
from flask_larder.flask.purging import (
    key_targets,
    path_target,
    prefix_target,
    purges_of,
    url_target,
    view_target,
)
from flask_larder.flask.tagging import checked_tags, give_tags, purgeable_tags
from flask_larder.flask.wiring import Wiring
from flask_larder.key import NO_QUERY
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
        self, function: Callable[..., Any], *, soft: bool = False, **arguments: Any
    ) -> None:
        """Forget what a view or function has answered, as :meth:`purge_tags` does.

        Without *arguments* all of it; with them, that for this one call, and then all arguments
        that have no default are to be given. They are compared as texts.
        """
        uncached = getattr(function, "uncached", function)
        self._purge([view_target(uncached, arguments)], soft=soft)

    def delete_cached(
        self,
        function: Callable[..., Any],
        path: str | None = None,
        query_args: QueryArgs | None = None,
        **arguments: Any,
    ) -> bool:
        """Forget one answer of a cached view or function, as Flask-Caching does; ``True`` if so.

        Where the key has a name (``make_cache_key``, ``key_prefix``), *arguments* are given to
        the function that makes it, and what is there is deleted; all that the key is a part of,
        by header fields, the query or the user, is purged. Otherwise the URL is purged:
        *path*, or that of the route for *arguments*, or without these that of the current
        request; with *query_args*, a text, a mapping or pairs, where the query is part of the key.
        ``False`` where nothing was under the name itself; a purge cannot tell.
        """
        options = self._options.get(function)
        if options is None:
            raise InvalidPurge(f"{function!r} is not cached by {self!r}; give a decorated function")
        if not options.is_template:
            return self._delete_name(_own_key(options, arguments))
        url = _path_of(function, path, arguments)
        query = _query_text(query_args)
        if query_args is None and path is None and not arguments and has_request_context():
            query = request.query_string.decode("latin-1")
        is_by_query = options.query is not NO_QUERY
        self._purge([url_target(f"{url}?{query}") if is_by_query else path_target(url)], soft=False)
        return True

    def _delete_name(self, name: str) -> bool:
        """Forget what is under *name*, and purge what else belongs to that or comes later."""
        was_there = self.delete(name)
        if self._wiring().has_purges:
            self._purge(key_targets(name), soft=False)
        return was_there

    def _purge(self, targets: Sequence[Target], *, soft: bool) -> None:
        if targets:
            self._wiring().purges.add(*purges_of(targets, soft=soft))


def _own_key(options: Options, arguments: dict[str, Any]) -> str:
    """The name under which a function with a key of its own is kept, for one call."""
    make: Callable[..., str] | None = options.make_cache_key
    if make is not None:
        return str(call_with_fitting(make, **arguments))
    return options.key_prefix() if callable(options.key_prefix) else options.key_prefix


def _path_of(function: Callable[..., Any], path: str | None, arguments: dict[str, Any]) -> str:
    """*path*, or that of the view's route for *arguments*, or else that of the current request."""
    if path is not None:
        return path
    if not arguments and has_request_context() and answers_request(function):
        return request.script_root + request.path
    for rule in current_app.url_map.iter_rules():
        if wraps(current_app.view_functions.get(rule.endpoint), function):
            return url_for(rule.endpoint, _external=False, **arguments).partition("?")[0]
    raise InvalidPurge(f"{function!r} has no route in this app; give path=")


def _query_text(query_args: QueryArgs | None) -> str:
    """A query string, from itself, a mapping or pairs, as ``delete_cached`` takes it."""
    if query_args is None:
        return ""
    return (
        query_args.lstrip("?") if isinstance(query_args, str) else urlencode(query_args, doseq=True)
    )
