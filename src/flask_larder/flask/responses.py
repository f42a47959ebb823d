"""Responses for Flask, made of what is stored."""

from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from typing import Any, Final

from flask import Flask, Response
from werkzeug.datastructures import Headers
from werkzeug.wrappers import Response as WerkzeugResponse

from flask_larder.entry import StoredResponse


def response_of(app: Flask, stored: StoredResponse) -> Response:
    """What Flask is to get of *stored*: a response of the class that *app* has."""
    kind: Any = app.response_class
    headers = _headers_of(stored.fields)
    if _is_made_plainly(kind):  # no length need be told, nor a type, unless none is stored
        response: Response = kind(None, status=stored.status, headers=headers)
        response.response = [stored.body]
        if len(headers) > len(stored.fields):
            headers = _headers_of(stored.fields)
    else:
        response = kind(stored.body, status=stored.status)
        response.response = [stored.body]  # whatever the class has made of it, again
    response.headers = headers
    return response


def copied(response: Response) -> Response:
    """*response* with header fields of its own, so that nobody who holds it sees them change.

    It is the same where its class is none of which there can be a copy.
    """
    try:
        its_copy = copy(response)
        its_copy.headers = copy(response.headers)
    except Exception:  # noqa: BLE001 - a class of the app's may do whatever it likes
        return response
    own = vars(its_copy)
    own[_ORIGINAL] = response  # which somebody may wait to see go
    if told := own.get(_TOLD):
        own[_TOLD] = copy(told)
    return its_copy


_ORIGINAL: Final = "_flask_larder_original"
_TOLD: Final = "_flask_larder_told"
_VARY: Final = "_flask_larder_vary"


def tell(response: WerkzeugResponse, fields: Iterable[tuple[str, str]]) -> None:
    """Add well-formed *fields* to *response*, of this answer only: the app may keep it."""
    added = tuple(fields)
    append_fields(fields_of(response), added)
    vars(response)[_TOLD] = (*vars(response).get(_TOLD, ()), *added)


def tell_vary(response: WerkzeugResponse, vary: str) -> None:
    """As :func:`tell`, of a ``Vary`` that takes the place of the one that is there."""
    headers = fields_of(response)
    vars(response)[_VARY] = vary, headers.getlist("Vary")
    headers["Vary"] = vary


def forget_told(response: WerkzeugResponse) -> bool:
    """Take away what was told of *response* when the app sent it before; whether it did."""
    own = vars(response)
    told, (vary, before) = own.pop(_TOLD, None), own.pop(_VARY, ("", []))
    if told is None:
        return False
    kept = Headers([field for field in fields_of(response).to_wsgi_list() if field not in told])
    if kept.getlist("Vary") == [vary]:
        kept.setlist("Vary", before)
    response.headers = kept
    return True


def fields_of(response: WerkzeugResponse) -> Headers:
    """The header fields of *response*; an app may have put a ``dict`` or a list in their place."""
    if not isinstance(response.headers, Headers):
        response.headers = Headers(response.headers)  # as Werkzeug does when it sends them
    return response.headers


@lru_cache
def _is_made_plainly(kind: Any) -> bool:
    """Whether a class makes nothing of its own of what it is given."""
    return all(
        getattr(kind, name) is getattr(WerkzeugResponse, name) for name in ("__init__", "set_data")
    )


def append_fields(headers: Headers, fields: Iterable[tuple[str, str]]) -> None:
    """Add well-formed *fields* to *headers*, which Werkzeug would look at again."""
    pairs = vars(headers).get("_list") if type(headers) is Headers else None
    if isinstance(pairs, list):
        pairs.extend(fields)
        return
    for name, value in fields:  # a class of the app's own, or another Werkzeug
        headers.add(name, value)


def _headers_of(fields: tuple[tuple[str, str], ...]) -> Headers:
    headers = Headers()
    append_fields(headers, fields)
    return headers
