"""The :class:`~flask_larder.store.Leases` on Redis: a key with a random token and a short life."""

import math
import os
import re
import threading
import time
from collections import deque
from collections.abc import Callable
from typing import Final, TypeVar, cast

from redis.exceptions import ClusterCrossSlotError, NoPermissionError, ResponseError

from flask_larder.budget import Counts
from flask_larder.coalesce import UNSHARED
from flask_larder.errors import StoreUnavailable
from flask_larder.per_process import PerProcess
from flask_larder.redis.cluster import AnyLinks
from flask_larder.redis.exchange import UNHEARD, Command, Deferred, Tried
from flask_larder.redis.pool import NoneFree, NotConnected, OutOfTime
from flask_larder.redis.scripts import script
from flask_larder.store import UNASKED, Lease, Unasked
from flask_larder.threads import start

T = TypeVar("T")

_LEAD: Final = script("lead")
_RELEASE: Final = script("release")
_RENEW: Final = script("renew")

SUFFIX: Final = "#lease"

_NO_RIGHT: Final = re.compile(
    r"can't run this command|ACL failure|NOPERM|unknown command", re.IGNORECASE
)

_STORED: Final = -1
"""The reply to the script that gives a lease, where something is stored."""

_leading: Final[dict[object, int]] = {}
"""The threads, or greenlets, of this process that have leases, by token."""

_MOST_LEFT: Final = 1000
"""How many leases wait at most to be given back; what is left out ends by itself."""

REFUSED_SECONDS: Final = 60.0
"""For how long no lease is asked for where Redis has refused to end one."""

REST_SECONDS: Final = 0.05
"""How long the thread rests where Redis did not answer.

It may have what was asked of it, and do it when it goes on: a lease that nobody knows of.
"""

IDLE_SECONDS: Final = 10.0
"""How long the thread waits for something to do. It keeps the connections of its app alive."""


class RedisLeases:
    """Gives out leases in the Redis that *links* lead to, under keys that begin with *prefix*.

    A lease lives for *life_seconds*. While its process lives, one thread of it renews all its
    leases at a third of their life, each for at most *most_seconds* in all. What ends it early is
    no harm: then another leads, too.
    """

    def __init__(
        self, links: AnyLinks, prefix: str, *, life_seconds: float, most_seconds: float
    ) -> None:
        self._links = links
        self._prefix = prefix
        self._life_ms = _milliseconds(life_seconds)
        self._most_seconds = most_seconds
        self._keeper = PerProcess(lambda: _Keeper(links, life_seconds))
        self._is_script_refused = False

    def acquire(self, key: str) -> "RedisLease | None":
        """See :class:`~flask_larder.store.Leases`."""
        if self._keeper().is_refused():
            raise StoreUnavailable("Redis refuses to end leases")
        return self._asked_for(self._wish(key))

    def acquire_and_look(self, key: str, look: Callable[[], T]) -> tuple[Lease | None, T]:
        """See :class:`~flask_larder.store.Leases`."""
        if self._keeper().is_refused():
            return UNSHARED, look()
        wish = self._wish(key)
        asked = Deferred(self._to_acquire(wish))
        try:
            found = self._links.ahead_of(look, asked)
            return self._granted(wish, asked), found
        except BaseException:
            wish.leave()
            raise

    def look_and_acquire(self, key: str, look: Callable[[], T]) -> tuple[Lease | Unasked | None, T]:
        """See :class:`~flask_larder.store.Leases`."""
        if self._keeper().is_refused():
            return UNSHARED, look()
        if self._links.are_many or self._is_script_refused:
            return UNASKED, look()  # where there are many, the key may be on another node
        wish = self._wish(key)
        asked = Tried(("EVAL", _LEAD, "2", wish.name, wish.at, wish.token, self._life_ms))
        try:
            found = self._links.ahead_of(look, asked)
            if not asked.was_asked or asked.reply == _STORED:
                return UNASKED, found
            if isinstance(asked.reply, ResponseError):  # it may be given without a script
                refused_for_good = NoPermissionError | ClusterCrossSlotError
                self._is_script_refused = isinstance(asked.reply, refused_for_good)
                return UNASKED, found
            return self._granted(wish, asked), found
        except BaseException:
            wish.leave()
            raise

    def _wish(self, key: str) -> "RedisLease":
        return RedisLease(self._links, self._keeper(), self._prefix + key)

    def _to_acquire(self, wish: "RedisLease") -> Command:
        return ("SET", wish.name, wish.token, "NX", "PX", self._life_ms)

    def _asked_for(self, wish: "RedisLease") -> "RedisLease | None":
        try:
            reply = self._links.ask(*self._to_acquire(wish))
            return None if reply is None else self._kept(wish)
        except BaseException as error:
            if not _is_unasked(error):  # then the lease may have been given unheard
                wish.leave()
            raise

    def _granted(self, wish: "RedisLease", asked: Deferred) -> Lease | None:
        """What has come of having *asked*, after the look."""
        if not asked.was_asked:  # nor was anything else: there was no need, or the store is away
            try:
                return self._asked_for(wish)
            except StoreUnavailable:
                return UNSHARED
        if asked.reply is UNHEARD or isinstance(asked.reply, ResponseError):
            wish.leave()
            return UNSHARED
        return self._kept(wish) if asked.reply else None

    def _kept(self, lease: "RedisLease") -> "RedisLease":
        """*lease*, which is ours now, kept alive."""
        lease.keep(time.monotonic() + self._most_seconds)
        return lease

    def leave(self, key: str) -> None:
        """See :class:`~flask_larder.store.Leases`."""
        for lease in self._keeper().kept():
            if lease.at == self._prefix + key and self.is_own(lease.token.encode()):
                lease.leave()

    def holder(self, key: str) -> object | None:
        """See :class:`~flask_larder.store.Leases`. It is the token."""
        name = self._prefix + key + SUFFIX
        return cast("bytes | None", self._links.ask("GET", name, counts=Counts.UNLESS_ANSWERED))

    def is_own(self, holder: object) -> bool:
        """See :class:`~flask_larder.store.Leases`."""
        return _leading.get(holder) == threading.get_ident()


class RedisLease:
    """A lease that this process has, or has lost without knowing it.

    It is for the key *at*, prefix and all. *ending* is the command that ends it, if it is still
    ours; it goes along where something is stored there.
    """

    __slots__ = ("_keeper", "_links", "_pid", "at", "ending", "name", "token")

    def __init__(self, links: AnyLinks, keeper: "_Keeper", at: str) -> None:
        self._links = links
        self._keeper = keeper
        self._pid = os.getpid()
        self.at = at
        self.name = at + SUFFIX
        self.token = os.urandom(16).hex()
        self.ending = Deferred(("EVAL", _RELEASE, "1", self.name, self.token))

    def keep(self, until: float) -> None:
        """Have it renewed until then, by the monotonic clock, and end where something is stored."""
        _leading[self.token.encode()] = threading.get_ident()
        self._keeper.add(self, until)
        self._links.put_behind(self.at, self.ending)

    def release(self) -> None:
        """See :class:`~flask_larder.store.Lease`.

        A request whose time is used up leaves that to the thread that renews. Where it fails
        there, too, the lease ends by itself. A child that was forked meanwhile leaves its parent's.
        """
        _leading.pop(self.token.encode(), None)
        if os.getpid() != self._pid:
            return
        self._keeper.drop(self)
        if isinstance(self.ending.reply, int):
            return
        self._links.take_back(self.at, self.ending)
        try:
            if not _lacks_rights(self.ending.reply):
                self.give_back(Counts.ALWAYS)
                return
        except StoreUnavailable as error:
            if not _lacks_rights(error.__cause__):
                self.leave()
                return
        self._keeper.refused()

    def give_back(self, counts: Counts) -> None:
        """End it, if it is still ours. Raises ``StoreUnavailable``."""
        self._links.ask(*self.ending, counts=counts)

    def leave(self) -> None:
        """Have the thread that renews end it, if it is ours at all."""
        _leading.pop(self.token.encode(), None)
        if os.getpid() != self._pid:
            return
        self._links.take_back(self.at, self.ending)
        self._keeper.drop(self)
        self._keeper.give_back(self)


class _Keeper:
    """Renews the leases of one process, in one thread, which runs while there are any.

    It also gives back those that a request could not give back.
    """

    def __init__(self, links: AnyLinks, life_seconds: float) -> None:
        self._links = links
        self._life_seconds = life_seconds
        self._lock = threading.RLock()  # with a Condition, a signal may come before it is entered
        self._changed = threading.Condition(self._lock)
        self._turn = threading.Lock()
        self._ends: dict[RedisLease, float] = {}
        self._left: deque[tuple[RedisLease, float]] = deque(maxlen=_MOST_LEFT)
        self._is_running = False
        self._is_idle = False  # it waits for something to do
        self._refused_until = -math.inf

    def add(self, lease: RedisLease, ends: float) -> None:
        """Renew *lease* until the monotonic clock shows *ends*, or until it is dropped."""
        with self._lock:
            self._ends[lease] = ends
            if self._is_idle or not self._is_running:  # else it looks before the lease ends
                self._run()

    def drop(self, lease: RedisLease) -> None:
        """Renew it no more."""
        with self._lock:
            self._ends.pop(lease, None)
        _leading.pop(lease.token.encode(), None)

    def is_refused(self) -> bool:
        """Whether Redis refuses to end leases: then others would wait for nobody."""
        return time.monotonic() < self._refused_until

    def refused(self) -> None:
        """Redis has done so. It is tried again later, since a user may be given the rights."""
        self._refused_until = time.monotonic() + REFUSED_SECONDS

    def kept(self) -> list[RedisLease]:
        """Those that are renewed."""
        with self._lock:
            return list(self._ends)

    def give_back(self, lease: RedisLease) -> None:
        """Give *lease* back, soon."""
        with self._lock:
            self._left.append((lease, time.monotonic() + self._life_seconds))
            self._run()

    def _run(self) -> None:
        """Have the thread look; where it cannot start, leases live their lives."""
        if self._is_running:
            self._changed.notify()
        else:
            self._is_running = start("leases", self._keep)

    def _keep(self) -> None:
        with self._turn:  # another one runs if an exception came just as that was started
            self._work()

    def _work(self) -> None:
        next_renewal = time.monotonic() + self._life_seconds / 3
        while True:
            with self._lock:
                if not self._has_work():
                    self._is_idle = True
                    has_work = self._changed.wait_for(self._has_work, IDLE_SECONDS)
                    self._is_idle = False
                    if not has_work:
                        self._is_running = False
                        return
                    next_renewal = time.monotonic() + self._life_seconds / 3
                self._changed.wait_for(lambda: self._left, next_renewal - time.monotonic())
                left = self._left.popleft() if self._left else None
            # One at a time: where Redis is slow, those that are at work must not wait for these.
            if left is not None and time.monotonic() < left[1] and not self._is_given_back(left[0]):
                time.sleep(REST_SECONDS)
                self._left.append(left)
            if time.monotonic() >= next_renewal:
                next_renewal = time.monotonic() + self._life_seconds / 3
                self._renew()

    def _is_given_back(self, lease: RedisLease) -> bool:
        """Whether it is, or cannot be; false where Redis did not answer, and soon may."""
        try:
            lease.give_back(Counts.NEVER)
        except StoreUnavailable as error:
            return _lacks_rights(error.__cause__)
        except Exception:  # noqa: BLE001 - whatever it is, the thread is for the other leases, too
            return True
        return True

    def _has_work(self) -> bool:
        return bool(self._ends or self._left)

    def _renew(self) -> None:
        now = time.monotonic()
        with self._lock:
            leases = list(self._ends.items())
        for lease in [lease for lease, ends in leases if ends <= now]:
            self.drop(lease)
        # One by one, since on a Cluster their keys may live on different nodes.
        for lease, ends in leases:
            if ends > now and not self._is_renewed(lease, min(self._life_seconds, ends - now)):
                self.drop(lease)

    def _is_renewed(self, lease: RedisLease, seconds: float) -> bool:
        """Whether it is still ours, as far as is known."""
        try:
            life = _milliseconds(seconds)
            renew = ("EVAL", _RENEW, "1", lease.name, lease.token, life)
            return bool(self._links.ask(*renew, counts=Counts.NEVER))
        except Exception:  # noqa: BLE001 - whatever it is, the thread is for the other leases, too
            return True


def _lacks_rights(error: object) -> bool:
    """Whether Redis refuses what the user has no right to, also where a script would do it."""
    if isinstance(error, NoPermissionError):
        return True
    return isinstance(error, ResponseError) and _NO_RIGHT.search(str(error)) is not None


def _is_unasked(error: BaseException) -> bool:
    """Whether the server has certainly not heard of a command that ended so."""
    cause = error.__cause__
    is_before = isinstance(cause, NoneFree | NotConnected | OutOfTime) and cause.__cause__ is None
    return isinstance(error, StoreUnavailable) and (cause is None or is_before)


def _milliseconds(seconds: float) -> str:
    return str(max(1, round(seconds * 1000)))
