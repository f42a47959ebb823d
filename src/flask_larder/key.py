"""Keys: readable, and injective, so that no two requests share one by accident.

A URL's key is ``larder1:`` and::

    view/ [METHOD ␠] scheme://host [|script_name|] path [?query] [#label=digest …]

a key that the developer named ``larder1:view=`` for a view, ``larder1:key=`` for a value,
and the name. Between the delimiters ``: = ␠ | ? #`` everything
is percent-encoded where it could be taken for one of them. A key that is too long keeps its
beginning, followed by a digest of all of it.
"""

import functools
import hashlib
import re
from collections.abc import Callable, Iterable
from fnmatch import fnmatchcase
from typing import Any, Final
from urllib.parse import SplitResult, quote, unquote_to_bytes

from flask_larder.credentials import may_tell_who_asks
from flask_larder.entry import Request, RequestFields, Targets
from flask_larder.errors import InvalidKey

FORMAT: Final = "larder1:"
"""Begins each key, behind the prefix of the configuration: the version of keys and values."""

LONGEST_KEY: Final = 250
"""In bytes, without the configured prefix."""

LONGEST_HOST: Final = 260
"""In characters: a name, and a port. Clients can send longer ones, for which there is no key."""

_KEPT_OF_LONG_KEY: Final = 120

# What may stand unencoded: RFC 3986's pchar and "/", less what delimits there.
_SAFE_IN_PATH: Final = "/!$&'()*+,;=:@"
_SAFE_IN_QUERY: Final = "/!$'()*,;:@"
_UNSAFE_IN_QUERY: Final = re.compile(rb"[^0-9A-Za-z_.~/!$()*,;:@&=+%?-]")
# What a browser sends percent-encoded only: what a view makes of it may be markup if it is not.
_NEVER_SENT: Final = re.compile(rb"[^\x21\x23-\x26\x28-\x3b\x3d\x3f-\x7e]")
# A pair in which nothing is encoded, nor would be.
_PLAIN_PAIR: Final = rb"[\w.~/!$'()*,;:@-]*=[\w.~/!$'()*,;:@-]*"
_PLAIN_QUERY: Final = re.compile(rb"%b(?:&%b)*" % (_PLAIN_PAIR, _PLAIN_PAIR))
_SAFE_IN_PREFIX: Final = "/!$&'()*+,;@"
_SAFE_IN_HOST: Final = ":[]"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_SAFE_IN_NAME: Final = "/!$&'()*+,;=:@?[]{}<>|^\"`\\"

HashMethod = Callable[[bytes], Any]
"""A constructor like :func:`hashlib.sha256`."""


class QueryRule:
    """Which parameters of a query are part of the key.

    *names* are the only ones; ``None`` means all. *ignored* are patterns of
    :mod:`fnmatch` for names that never are, such as ``utm_*``. Where it is *exact*, the order of
    parameters and how they are encoded counts.
    """

    __slots__ = ("_exact", "_ignored", "_names")

    def __init__(
        self, names: Iterable[str] | None, ignored: Iterable[str] = (), *, exact: bool = False
    ) -> None:
        self._names = None if names is None else frozenset(names)
        self._ignored = tuple(ignored)
        self._exact = exact

    @property
    def is_whole(self) -> bool:
        """Whether every parameter is part of the key."""
        return self._names is None and not self._ignored

    @property
    def is_empty(self) -> bool:
        """Whether no parameter is part of the key."""
        return self._names is not None and not self._names

    @property
    def is_open(self) -> bool:
        """Whether every parameter is part of the key but those that are ignored by name."""
        return self._names is None

    def selects(self, name: str) -> bool:
        """Whether the parameter *name* is part of the key."""
        if self._names is not None and name not in self._names:
            return False
        return not self.ignores(name)

    def ignores(self, name: str) -> bool:
        """Whether the developer has said that the parameter *name* does not matter."""
        return any(fnmatchcase(name, pattern) for pattern in self._ignored)

    def of_key(self, query: bytes) -> str:
        """What stands in a key: as :meth:`canonical`, for what a browser may have sent.

        Anything else is kept as it is, since a view may tell it from what is encoded, and nobody
        whose browser encodes it is to get what that has made.
        """
        if not query or self.is_empty or not _NEVER_SENT.search(query):
            return self.canonical(query)
        return self._as_it_is(query)

    def canonical(self, query: bytes) -> str:
        """The selected parameters, sorted by name and encoded in one way, unless it is exact.

        The order of values of one name is kept: ``a=1&a=2`` and ``a=2&a=1`` differ.
        """
        if not query or self.is_empty:
            return ""
        if self._exact:
            return self._as_it_is(query)
        if self.is_whole and _PLAIN_QUERY.fullmatch(query):  # as most are: there is only the order
            parts = query.split(b"&")
            parts.sort(key=_name_of)
            return b"&".join(parts).decode()
        pairs = [pair for pair in _parse_query(query) if self.selects(_text(pair[0]))]
        pairs.sort(key=lambda pair: pair[0])
        return "&".join(f"{_encode(name)}={_encode(value)}" for name, value in pairs)

    def _as_it_is(self, query: bytes) -> str:
        parts = query.split(b"&")
        if not self.is_whole:
            parts = [part for part in parts if self.selects(_text(_pair(part)[0]))]
        return _UNSAFE_IN_QUERY.sub(lambda byte: b"|%02X" % byte[0][0], b"&".join(parts)).decode()


NO_QUERY: Final = QueryRule(names=())
WHOLE_QUERY: Final = QueryRule(names=None)


def _parse_query(query: bytes) -> list[tuple[bytes, bytes]]:
    return [_pair(part) for part in query.split(b"&") if part]


def _pair(part: bytes) -> tuple[bytes, bytes]:
    name, _, value = part.replace(b"+", b" ").partition(b"=")
    return unquote_to_bytes(name), unquote_to_bytes(value)


def _name_of(part: bytes) -> bytes:
    return part.partition(b"=")[0]


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _encode(value: bytes) -> str:
    return quote(value, safe=_SAFE_IN_QUERY)


def url_key(request: Request, query: QueryRule, template: str = "view/%s") -> str:
    """The key of a request: everything that selects, readable.

    *template* is a ``key_prefix``, in which the first ``%s`` stands for the URL. HEAD has the
    key of GET, whose entry answers it.
    """
    before, after = _around_url(template)
    method = "" if request.method in {"GET", "HEAD"} else f"{quote(request.method, safe='')} "
    parameters = query.of_key(request.query)
    key = f"{before}{method}{origin_of(request)}{request.path}"
    return f"{key}?{parameters}{after}" if parameters else f"{key}{after}"


@functools.lru_cache(maxsize=1024)
def _around_url(template: str) -> tuple[str, str]:
    """What stands in a key before and after the URL."""
    before, _, after = template.partition("%s")
    end = f"#{quote(after, safe=_SAFE_IN_PREFIX)}" if after else ""
    return quote(before, safe=_SAFE_IN_PREFIX), end


def origin_of(request: Request) -> str:
    """Scheme, host and mount: what selects whatever the rest of the key is."""
    mount = f"|{request.script_name}|" if request.script_name or request.path[:1] != "/" else ""
    return site_of(request.scheme, request.host) + mount


@functools.lru_cache(maxsize=1024)  # asked for several times in a request
def site_of(scheme: str, host: str) -> str:
    """Scheme and host, with its port unless it is the default one."""
    return f"{quote(scheme, safe='')}://{quote(host, safe=_SAFE_IN_HOST)}"


def site_of_url(parts: SplitResult) -> str | None:
    """The site of a URL, as :func:`site_of` has it; ``None`` where it has none that HTTP knows.

    Raises ``ValueError`` for a host or a port that cannot be one.
    """
    scheme, host = parts.scheme.lower(), parts.hostname
    if scheme not in _DEFAULT_PORTS or not host or "@" in parts.netloc:
        return None
    shown = f"[{host}]" if ":" in host else host.encode("idna").decode("ascii")
    is_default = parts.port in {None, _DEFAULT_PORTS[scheme]}
    return site_of(scheme, shown if is_default else f"{shown}:{parts.port}")


def url_targets(request: Request) -> Targets:
    """By what purges the very URL of *request* is meant."""
    return Targets(
        tags=(),
        view="",
        arguments="",
        site=site_of(request.scheme, request.host),
        path=request.script_name + request.path,
        query=WHOLE_QUERY.canonical(request.query),
        key="",
    )


def encode_path(path: bytes) -> str:
    """A path as it stands in a key and in a URL: percent-encoded, in ASCII."""
    return quote(path, safe=_SAFE_IN_PATH) if path else ""


def named_key(name: str) -> str:
    """The key of a value under a *name* of the developer's. It can never be the key of a URL."""
    return f"key={_encode_name(name)}"


def named_view_key(name: str) -> str:
    """The key of a view's response under a *name* of the developer's, and never a value's.

    The name may come from the request, and could be made to name a value.
    """
    return f"view={_encode_name(name)}"


def _encode_name(name: str) -> str:
    if not isinstance(name, str):
        raise InvalidKey(f"a key is {name!r}; give a text")
    return quote(name, safe=_SAFE_IN_NAME, errors="surrogatepass")


def with_selection(key: str, label: str, parts: Iterable[str | None]) -> str:
    """*key*, further selected by *parts*, which may be secret: only their digest is seen."""
    return f"{key}#{label}={digest_of(parts)}"


def variant_key(key: str, names: Iterable[str], fields: RequestFields) -> str:
    """The key of the variant that the request's *fields* of these *names* select."""
    parts: list[str | None] = []
    for name in names:
        parts += [name, normalised(name, fields.get(name))]
    return with_selection(key, "variant", parts)


_FREE_CASE: Final = frozenset({"accept-charset", "accept-encoding", "accept-language"})


def normalised(name: str, value: str | None) -> str | None:
    """*value* in a form that it shares with those of the same meaning (RFC 9111 section 4.1).

    White space around commas says nothing: it is there, or not, where several lines of one name
    have been made one (RFC 9110 section 5.3). For ``Accept*`` that goes for semicolons, too, and
    the case of languages and codings. Order counts with many who read it, and what is in quotes, or
    may tell who asks, stays as it is.
    """
    if value is None or '"' in value or may_tell_who_asks(name):
        return value
    compact = _without_space_around(",", value)
    if name.startswith("accept"):
        compact = _without_space_around(";", compact)
    return compact.lower() if name in _FREE_CASE else compact


def _without_space_around(separator: str, value: str) -> str:
    return separator.join(part.strip(" \t") for part in value.split(separator))


def stored_key(key: str, hash_method: HashMethod = hashlib.sha256) -> str:
    """*key* as it is given to a store: with the format's version, and not too long."""
    if len(key) > LONGEST_KEY:
        digest = hash_method(key.encode()).hexdigest()
        key = f"{key[:_KEPT_OF_LONG_KEY]}#hash={digest}"
    return FORMAT + key


def digest_of(parts: Iterable[str | None]) -> str:
    """Hash *parts* with their boundaries, so that ("a", "bc") and ("ab", "c") differ."""
    framed: list[bytes] = []
    for part in parts:
        data = None if part is None else part.encode("utf-8", "surrogatepass")
        framed.append(b"none:-" if data is None else b"%d:%b" % (len(data), data))
    return hashlib.blake2b(b"".join(framed), digest_size=16).hexdigest()
