"""What the engine is asked, and what it may find; and what requests for the same can share."""

from collections.abc import Callable

from msgspec import Struct
from msgspec.structs import replace

from flask_larder.entry import NO_TARGETS, Entry, Position, Request, StoredResponse, Targets
from flask_larder.key import HashMethod, stored_key, variant_key
from flask_larder.policy import Directives, Policy
from flask_larder.requested import NO_DIRECTIVES
from flask_larder.status import CacheStatus


class LookedUp(Struct, frozen=True):
    """What the store had under *key* since the request came: *entry*, or nothing."""

    key: str
    entry: Entry | None


class Ask(Struct, frozen=True):
    """A request, the policy for it, and the key that it has under this policy.

    *url* tells by what purges the very URL is hit, since one response may answer several, or the
    name of the key.
    *position* is the latest purge that was known when the request came, ``None`` where none was.
    *refresh* means that a stored response is not to be used but replaced, and *replaces* that the
    one is which was stored then. *is_stale* may call a fresh one stale. *directives* are
    those of the request, where they count. *looked_up* spares the first look-up. *expected* tells
    by what purges is hit what the view makes, as far as that is known by now; whether functions may
    be asked for that, it is told.
    """

    request: Request
    policy: Policy
    key: str
    hash_method: HashMethod
    url: Targets = NO_TARGETS
    position: Position | None = None
    refresh: bool = False
    replaces: float | None = None
    is_stale: Callable[[StoredResponse], bool] | None = None
    directives: Directives = NO_DIRECTIVES
    looked_up: LookedUp | None = None
    expected: Callable[[bool], Targets] | None = None


class Hit(Struct, frozen=True):
    """A stored response may be sent. *age* is in seconds, *names* are the fields that selected.

    *is_due* tells that it is time to revalidate it, which nobody has to wait for, *is_validated*
    that it was found to be the same just now; *error* is what was raised where it is sent in place
    of that.
    """

    response: StoredResponse
    age: float
    status: CacheStatus
    names: frozenset[str] = frozenset()
    is_due: bool = False
    is_validated: bool = False
    error: Exception | None = None


class Miss(Struct, frozen=True):
    """The request has to be forwarded; *status* says why.

    *names* are the header fields by which responses of this URL are already known to vary. *stale*
    is what may be sent if that fails, *to_validate* what may be sent if whoever answers finds that
    it is still the same. *may_store* is false where the store is not to be asked
    again, *may_share* where the answer is for this request alone.
    """

    status: CacheStatus
    names: frozenset[str] = frozenset()
    stale: StoredResponse | None = None
    to_validate: StoredResponse | None = None
    may_store: bool = True
    may_share: bool = True


class Shared(Struct, frozen=True):
    """A response that may be stored, and under which key: what requests like it can share."""

    at: str
    names: frozenset[str]
    response: StoredResponse


def selected_key(ask: Ask, names: frozenset[str]) -> str:
    """The key of the response that *ask* selects where responses vary by *names*."""
    return variant_key(ask.key, tuple(sorted(names)), ask.request.fields) if names else ask.key


def key_in_store(ask: Ask, names: frozenset[str]) -> str:
    """:func:`selected_key` as the store has it. Who has the same one can share a response."""
    return stored_key(selected_key(ask, names) if names else ask.key, ask.hash_method)


def judging_once(ask: Ask) -> Ask:
    """*ask* with an ``is_stale`` that is not called again for a response that it has judged."""
    is_stale = ask.is_stale
    if is_stale is None:
        return ask
    judged: list[tuple[StoredResponse, bool]] = []

    def judge(response: StoredResponse) -> bool:
        for known, verdict in judged:
            if known == response:
                return verdict
        judged.append((response, is_stale(response)))
        return judged[-1][1]

    return replace(ask, is_stale=judge)
