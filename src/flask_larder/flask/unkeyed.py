"""Tell, in debug and in tests, what was read that neither the key nor ``Vary`` holds.

Cookies, the session and ``Authorization`` forbid storing where the key holds nothing of them. What
is left are the query and other header fields, and the parts of what the key holds in part.
"""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from flask.ctx import RequestContext
from msgspec import Struct

from flask_larder.environ import environ_name
from flask_larder.flask.call import Call
from flask_larder.flask.current import this_app
from flask_larder.flask.named_reads import (
    ARGS,
    COOKIES,
    HEADERS,
    WITH_QUERY,
    Read,
    collectors_of,
    wants_names,
)
from flask_larder.flask.options import Options
from flask_larder.flask.tracking import TrackedRequest
from flask_larder.headers import selects_by_itself

_QUERY: Final = (ARGS, *WITH_QUERY)

# Of the transfer, or what the cache itself deals with: the host is in each key, and what the view
# makes of a Range is not stored. Authorization forbids storing; see Reads.
_DEALT_WITH: Final = frozenset(
    {
        "authorization",
        "cache-control",
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "pragma",
        "proxy-connection",
        "range",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
_CONDITIONS: Final = "if-"

# Hooks look at it for each request, to see whether there is JSON in the body.
_OF_BODIES: Final = Read(HEADERS, "content-type")


class Known(Struct, frozen=True):
    """What was read by name before a view or function ran, by whom.

    *before* the cache was asked, that is by hooks and decorators; *by_key*, by the functions that
    make the key; *by_unless*, what this may have known somebody by.
    """

    before: frozenset[Read] = frozenset()
    by_key: frozenset[Read] = frozenset()
    by_unless: frozenset[Read] = frozenset()


NOTHING: Final = Known()


def present_fields(
    reads: Iterable[Read], environ: Mapping[str, Any], harmless: frozenset[str]
) -> frozenset[Read]:
    """The header fields of *reads* that the request has, but for those that are *harmless*.

    ``unless=`` may have loaded by them the user whom the view then finds in ``flask.g``. What the
    request does not have named nobody.
    """
    return frozenset(
        read
        for read in reads
        if read.part == HEADERS
        and read.name is not None
        and read.name not in harmless
        and environ_name(read.name) in environ
    )


def tell_unkeyed(
    call: Call, known: Known, reads: frozenset[Read], fields: frozenset[str], *, is_view: bool
) -> None:
    """Tell of those *reads*, and of what was *known* before, that the key does not hold.

    *fields* are the header fields that select by the response's ``Vary``.
    """
    app = this_app()
    if not wants_names(app):
        return
    for read, line in dict(_lines(call, known, reads, fields, is_view=is_view)).items():
        for collector in tuple(collectors_of(app)):
            collector.add(read, line)
        if app.debug:
            call.wiring.tell_once(line)


def _lines(
    call: Call, known: Known, reads: frozenset[Read], fields: frozenset[str], *, is_view: bool
) -> Iterator[tuple[Read, str]]:
    """Each reading that the key does not hold, with its line. The view's own comes last."""
    options, held = call.options, _held(call.options, known)
    selecting = fields | set(options.vary_fields)
    readers = {
        f"a hook or decorator before {call.name}": known.before - {_OF_BODIES},
        f"unless= of {call.name}": known.by_unless,
        call.name: reads,
    }
    if options.vary_by is not None:
        # It says who asks: as for Reads, whoever was loaded before is the same.
        readers = {call.name: reads}
    for reader, found in readers.items():
        for read in sorted(found, key=str):
            if read.name is not None and Read(read.part) in found:
                continue  # all of it is told
            if not _is_held(options, read, held, selecting, is_view=is_view):
                remedy = _remedy(options, read)
                yield read, f"{reader} reads {read}, which its key ignores: {remedy}"


def _held(options: Options, known: Known) -> frozenset[Read]:
    """What is in the key since a function that makes it has read it.

    A ``vary=`` function says who asks, and holds also what tells that and was read before.
    """
    held = known.by_key if options.asks_for_key else frozenset()
    if options.vary_by is not None:
        held |= {read for read in known.before if read.part not in _QUERY}
    return held


def _is_held(
    options: Options,
    read: Read,
    held: frozenset[Read],
    selecting: frozenset[str],
    *,
    is_view: bool,
) -> bool:
    if read in held or any(whole in held for whole in _wholes(read.part)):
        return True
    if read.part in _QUERY:
        return _is_in_query_of_key(options, read.name)
    if read.part == HEADERS and read.name is None:
        # A view that hands them on to another server has its Vary from there.
        return options.by_response
    if read.part == HEADERS:
        return _selects(str(read.name), selecting, is_view=is_view)
    # One cookie, or a part of the session, which Vary: Cookie tells from others as well.
    return "cookie" in selecting


def _wholes(part: str) -> Iterable[Read]:
    """What holds all of *part*, where it was read."""
    if part in _QUERY:
        return (Read(name) for name in _QUERY)
    return (Read(part), Read(HEADERS)) if part == COOKIES else (Read(part),)


def _is_in_query_of_key(options: Options, name: str | None) -> bool:
    has_query = options.make_cache_key is None
    if name is None:
        return has_query and options.query.is_open
    return options.query.ignores(name) or (has_query and options.query.selects(name))


def _selects(name: str, selecting: frozenset[str], *, is_view: bool) -> bool:
    """Whether responses are told apart by the field *name*, or need not be."""
    if name in _DEALT_WITH or name.startswith(_CONDITIONS) or name in selecting:
        return True
    return is_view and selects_by_itself(name)  # it selects by having been read


def _remedy(options: Options, read: Read) -> str:
    if read.part in _QUERY and options.make_cache_key is not None:
        return "let make_cache_key read it, or name it in ignore_query= if it does not matter"
    if read.part in _QUERY and read.name is None:
        return "give query_string=True, and name in ignore_query= what does not matter"
    if read.part in _QUERY:
        return "name it in query_string=, or in ignore_query= if it does not matter"
    if read.part == HEADERS and options.vary_by is None:
        return "name it in vary=" if read.name else "read by name what matters"
    return "let the function that makes its key, or vary=, read it"


def remember(call: Call, reads: frozenset[Read]) -> None:
    """Keep in mind what the function reads, for when it is not run."""
    if reads:
        known = call.wiring.read_by.get(call.function, frozenset())
        call.wiring.read_by[call.function] = known | reads


def recall(call: Call, context: RequestContext) -> None:
    """Note what the function would have read, had it not been answered from the cache.

    Whoever called it, perhaps another cached view, depends on that all the same.
    """
    request = context.request
    if isinstance(request, TrackedRequest) and request.larder_named_reads is not None:
        for read in call.wiring.read_by.get(call.function, ()):
            request.larder_named_reads.note(read)
