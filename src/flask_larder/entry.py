"""What the cache looks at and what it keeps: a request, and a stored response."""

from dataclasses import dataclass
from typing import Protocol

from flask_larder.headers import Fields


class RequestFields(Protocol):
    """The header fields of a request, asked for by name in lower case."""

    def get(self, name: str, /) -> str | None:
        """The value of the field, or ``None`` where the request does not have it."""
        ...


@dataclass(frozen=True, slots=True)
class Request:
    """The parts of a request that select a stored response.

    *script_name* and *path* are percent-encoded, in ASCII; *query* is the raw query string
    without ``?``. *host* has its port unless it is the default one.
    """

    method: str
    scheme: str
    host: str
    script_name: str
    path: str
    query: bytes
    fields: RequestFields
    has_body: bool = False


@dataclass(frozen=True, slots=True)
class StoredResponse:
    """A response as it is kept: what is sent again, and since when and how long it is fresh.

    *origin* is the scheme, host and mount it was made for. *stored_at* is in seconds since the
    epoch, *lifetime* in seconds (RFC 9111 section 4.2). *value* is what the view returned,
    encoded, where a decorator around the cache is to see that rather than the response.
    """

    origin: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    stored_at: float
    lifetime: float
    value: bytes | None = None


@dataclass(frozen=True, slots=True)
class Variants:
    """Stands at the key of a URL whose responses vary; they are stored beside it.

    *names* are the selecting header fields in lower case (RFC 9111 section 4.1), sorted.
    """

    names: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reads:
    """What a view looked at, beyond its arguments, while it made a response.

    *unkeyed* names what no key holds by itself: ``cookie``, ``session``, ``authorization``,
    ``remote-user``, ``headers`` (all of them) and ``body``. *selecting* are the ``Accept*``
    fields, in lower case. *after_this_request* tells that the view registered a function for its
    own response, which a stored copy would never run.
    """

    unkeyed: frozenset[str] = frozenset()
    selecting: frozenset[str] = frozenset()
    after_this_request: bool = False


class Forwarded(Protocol):
    """A response that a view has just made, and which may not have its whole body yet."""

    @property
    def status(self) -> int:
        """The status code."""
        ...

    @property
    def fields(self) -> Fields:
        """The header fields as the view left them."""
        ...

    @property
    def refusal(self) -> str | None:
        """Why whoever made it does not want it stored, in one word, or ``None``."""
        ...

    def value(self) -> bytes | None:
        """What is to be kept beside the response; see :class:`StoredResponse`."""
        ...

    def read_body(self, limit: int) -> bytes | None:
        """The whole body, or ``None`` where it is longer than *limit* bytes.

        The caller of the view gets the whole body in either case.
        """
        ...

    def reads(self) -> Reads:
        """What the view has looked at until now. A streamed body may still add to it."""
        ...
