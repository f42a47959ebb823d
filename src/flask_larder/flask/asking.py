"""From a Flask request to what the engine is asked: a request and its key."""

import inspect
from contextlib import suppress
from typing import Any, Final
from weakref import WeakKeyDictionary

from flask import Flask
from flask import Request as FlaskRequest
from msgspec import Struct
from msgspec.structs import replace
from werkzeug.exceptions import SecurityError
from werkzeug.sansio.utils import host_is_trusted

from flask_larder.codec import encode_value
from flask_larder.entry import NO_TARGETS, Request, Targets
from flask_larder.environ import EnvironFields, paths_of
from flask_larder.errors import InvalidPolicy
from flask_larder.flask.named_reads import query_of
from flask_larder.flask.options import Options
from flask_larder.key import (
    LONGEST_HOST,
    encode_path,
    named_key,
    named_view_key,
    normalised,
    stored_key,
    url_key,
    url_targets,
    with_selection,
)


def core_request(request: FlaskRequest) -> Request:
    """*request* as the engine knows requests."""
    environ = request.environ
    script_name, path = paths_of_match(request)
    length = environ.get("CONTENT_LENGTH") or "0"
    return Request(
        method=request.method,
        scheme=request.scheme,
        host=request.host.lower(),
        # From the raw bytes: Werkzeug's text has one character for all that is not UTF-8.
        script_name=encode_path(script_name.encode("latin-1")),
        path=encode_path(_one_slash(path).encode("latin-1")),
        query=query_of(request),
        fields=EnvironFields(environ),
        has_body=length != "0" or "HTTP_TRANSFER_ENCODING" in environ,
    )


def paths_of_match(request: FlaskRequest) -> tuple[str, str]:
    """The mount and the path by which Flask has found the view, whatever hooks have made of them.

    Those of the environ, where the request does not know: its class was replaced.
    """
    found = getattr(request, "larder_paths", None)
    return paths_of(request.environ) if found is None else found


def path_of(request: FlaskRequest) -> str:
    """The path as it was asked for, for the log: a line feed in it would forge a line there."""
    return encode_path(request.environ.get("PATH_INFO", "").encode("latin-1"))


def _one_slash(path: str) -> str:
    """*path* as Werkzeug matches it, which takes several slashes at its beginning for one."""
    return f"/{path.lstrip('/')}" if path.startswith("//") else path


def host_is_refused(app: Flask, request: FlaskRequest) -> bool:
    """Whether *app* has ``TRUSTED_HOSTS`` and the request's host is not one of them.

    Or whether it has a host that Werkzeug takes for none, by which no key could tell it apart, or
    one that is no name, however long.
    """
    trusted = app.config.get("TRUSTED_HOSTS")
    try:
        if trusted is not None and not host_is_trusted(request.host, trusted):
            return True
    except SecurityError:
        return True
    host = request.host
    return len(host) > LONGEST_HOST or (not host and "HTTP_HOST" in request.environ)


class Asked(Struct, frozen=True):
    """What a call asks for: its *key*, before it is shortened, and by what purges that is hit."""

    key: str
    targets: Targets


def asked_of(
    options: Options,
    request: Request | None,
    owner: str | None,
    source: str | None,
    args: Any,
    kwargs: Any,
) -> Asked:
    """What a call asks for. Calls the functions that *options* name.

    *request* is ``None`` for a function that is called outside of requests. *owner* is the name
    of a function that is no view, ``None`` for a view.
    """
    if options.template is not None and request is not None:
        key, targets = url_key(request, options.query, options.template), url_targets(request)
        if owner is not None:
            # What a view calls must not take the place of the view's own page.
            key = with_selection(key, "function", [owner])
    else:
        key = (named_view_key if owner is None else named_key)(name_of_key(options, args, kwargs))
        url = url_targets(request) if request is not None and owner is None else NO_TARGETS
        targets = replace(url, key=stored_key(key))
        if request is not None and options.make_cache_key is None:
            parameters = options.query.of_key(request.query)
            key += f"#query={parameters}" if parameters else ""
    return Asked(_selected(key, options, request, source), targets)


def name_of_key(options: Options, args: Any, kwargs: Any) -> str:
    """The name that the developer gave to the key of a call.

    Raises ``InvalidPolicy`` where a function of theirs returns something else than a text.
    """
    if options.make_cache_key is not None:
        return _checked(options.make_cache_key(*args, **kwargs), "make_cache_key")
    if callable(options.key_prefix):
        return _checked(options.key_prefix(), "key_prefix")
    return options.key_prefix


def _selected(key: str, options: Options, request: Request | None, source: str | None) -> str:
    """*key*, further selected by what *options* say, and by the *source* of the function."""
    if options.vary_fields:
        fields = request.fields if request else EnvironFields({})
        names = options.vary_fields
        parts = [part for n in names for part in (n, normalised(n, fields.get(n)))]
        key = with_selection(key, "vary", parts)
    if options.vary_by is not None:
        # As data, and not as text: 1 and "1" are different users.
        key = with_selection(key, "vary-by", [encode_value(options.vary_by()).hex()])
    if source is not None:
        key = with_selection(key, "source", [source])
    return key


def _checked(key: Any, option: str) -> str:
    if not isinstance(key, str):
        raise InvalidPolicy(f"{option} returned {key!r}; it must return a text")
    return key


def source_of(function: Any) -> str | None:
    """The source code of *function*, or ``None`` where there is none to be found."""
    with suppress(TypeError):  # it cannot be hashed, or kept so
        if function in _known_sources:
            return _known_sources[function]
    try:
        source = inspect.getsource(inspect.unwrap(function))
    except (OSError, SyntaxError, TypeError):
        source = None
    with suppress(TypeError):
        _known_sources[function] = source
    return source


_known_sources: Final = WeakKeyDictionary[Any, str | None]()
