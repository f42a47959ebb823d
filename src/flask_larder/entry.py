"""What the cache looks at and what it keeps: a request, and a stored response."""

from collections.abc import Iterable
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from flask_larder.headers import Fields

Position: TypeAlias = tuple[int, int]
"""A place in the log of purges: the id of one of them, which Redis writes as ``ms-number``."""


class RequestFields(Protocol):
    """The header fields of a request, asked for by name in lower case."""

    def get(self, name: str, /) -> str | None:
        """The value of the field, or ``None`` where the request does not have it."""
        ...

    def keys(self) -> Iterable[str]:
        """The names of all of them, in lower case."""
        ...


class Request(Struct, frozen=True):
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


class Targets(Struct, frozen=True, array_like=True, forbid_unknown_fields=True):
    """What purges can name to hit something stored: a response, a value, or a request's URL.

    *tags* were given by the developer, *view* names the function that made it, and *arguments*
    digests what that was called with. *site* is a scheme and a host, *path* has the mount, in
    ASCII, and *query* is the whole query in canonical order: ``None`` where the key does not hold
    all of it, so that what is stored answers other queries, too. *key* is that of what has a name
    of the developer's, without what further selects. What is empty is not known.

    They are stored as an array, in this order, and none of them has a default: what was stored
    without one of them could not be hit by that.
    """

    tags: tuple[str, ...]
    view: str
    arguments: str
    site: str
    path: str
    query: str | None
    key: str


NO_TARGETS: Final = Targets((), "", "", "", "", None, "")


class StoredResponse(Struct, frozen=True):
    """A response as it is kept: what is sent again, and since when and how long it is fresh.

    *origin* is the scheme, host and mount it was made for. *stored_at* is in seconds since the
    epoch, as if its age had been 0 then, *lifetime* in seconds (RFC 9111 section 4.2). *position*
    is that of the latest purge that was known before it was made; ``None``, where none was known,
    is for sharing only and is not stored. *targets* tell by which later ones it is hit. *cost* is
    how long, in seconds, it took to make. *stale_while_revalidate* and *stale_if_error* are for
    how long, in seconds, it may be sent when it is no longer fresh (RFC 5861), *max_stale* for how
    long to a request that takes it so, and *keep* for how long it can be validated. *value* is
    what the view returned, encoded, where a decorator around the cache is to see that rather than
    the response. What is *anonymous* was made of all header fields of a request, by none of which
    anybody was known, and is for such requests only. Fields that select may tell who asks.
    """

    origin: str
    status: int
    fields: tuple[tuple[str, str], ...]
    body: bytes
    stored_at: float
    lifetime: float
    position: Position | None = (0, 0)
    targets: Targets = NO_TARGETS
    cost: float = 0.0
    stale_while_revalidate: float = 0.0
    stale_if_error: float = 0.0
    max_stale: float = 0.0
    keep: float = 0.0
    value: bytes | None = None
    anonymous: bool = False


class StoredValue(Struct, frozen=True):
    """A value of the application as it is kept: *data* is its encoding.

    *position* and *targets* are as those of a :class:`StoredResponse`.
    """

    data: bytes
    position: Position | None
    targets: Targets = NO_TARGETS


class Variants(Struct, frozen=True):
    """Stands at the key of a URL whose responses vary; they are stored beside it.

    *names* are the selecting header fields in lower case (RFC 9111 section 4.1), sorted.
    """

    names: tuple[str, ...]


Entry: TypeAlias = StoredResponse | Variants
"""What stands under a key of a response."""


class Reads(Struct, frozen=True):
    """What a view looked at, beyond its arguments, while it made a response.

    *unkeyed* names what no key holds by itself: ``cookie``, ``session``, ``authorization``,
    ``remote-user``, ``headers`` (all of them), ``body``, ``outer-request``, and other header fields
    that tell who asks, in lower case; of these, *before* has what only something before the view
    has looked at. *selecting* are the ``Accept*`` fields and ``Origin``, in lower case.
    *all_fields* tells that the view went through all of them, of which *unkeyed* may have only
    those that the request has. *after_this_request* tells that the view registered a function for
    its own response, which a stored copy would never run, and *changes_session* that a cookie will
    go with it, which stands in none of its fields as yet.
    """

    unkeyed: frozenset[str] = frozenset()
    before: frozenset[str] = frozenset()
    selecting: frozenset[str] = frozenset()
    all_fields: bool = False
    after_this_request: bool = False
    changes_session: bool = False


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

    @property
    def unsaid(self) -> frozenset[str]:
        """The directives in its ``Cache-Control`` that nobody has chosen: they do not count."""
        ...

    def targets(self) -> Targets:
        """By what purges it is hit. A streamed body may still add tags."""
        ...

    def cost(self) -> float:
        """For how long it has been made until now, in seconds. A streamed body adds to that."""
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
