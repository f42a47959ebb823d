"""Responses for Flask, made of what is stored."""

from collections.abc import Iterable
from copy import copy
from functools import lru_cache
from typing import Any

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
    return its_copy


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
