"""A circuit breaker: while a store is away, requests do not wait for it one by one."""

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("flask_larder")

REST_SECONDS: Final = 1.0
"""How long a store is left alone after a failure, before one request tries it again."""

PATIENCE: Final = 3
"""How many replies in a row have to be late before a store counts as away."""

_SILENCE_SECONDS: Final = 60.0

_SLOW: Final = "%s did not answer in time, views answer without it: %d since the last such line"


class Breaker:
    """Closed while a store answers; open for :data:`REST_SECONDS` once it is away; then one try.

    Logs one line for an outage when it begins, and one when it is over; where the store refuses,
    or is too slow for requests, one a minute at most. *name* is what they call the store. *clock*
    returns seconds on a scale that only goes forward. *away_since* tells by that clock since when
    the store is away, as far as is known; it is ``None`` while it is not.
    """

    def __init__(self, clock: Callable[[], float], name: str) -> None:
        self._clock = clock
        self._name = name
        self.away_since: float | None = None
        self._lock = threading.Lock()
        self._back_at = -math.inf
        self._next_try = 0.0
        self._late_replies = 0
        self._missed = 0  # what was too late, since that was told
        self._told_slow_until = -math.inf
        self._told_refusals_until: dict[type[Exception], float] = {}
        self._is_retired = False

    def admit(self) -> float | None:
        """The time, if the store may be asked now; else ``None``. While it is away, one may try.

        The time belongs into :meth:`succeeded`, :meth:`refused` or :meth:`failed`.
        """
        now = self._clock()
        if self.away_since is None:  # read without the lock: the usual case costs little
            return now
        with self._lock:
            if now < self._next_try:
                return None
            self._next_try = now + REST_SECONDS
            return now

    def failed(self, error: BaseException, asked_at: float, *, is_late: bool = False) -> None:
        """The store did not answer who asked then.

        Or, where it *is late*, not in time, or not to the end, which may be by chance. What was
        asked before the end of an outage is no sign of another.
        """
        with self._lock:
            now = self._clock()
            if asked_at < self._back_at:
                return
            self._late_replies += 1
            if self.away_since is not None:
                self._next_try = now + REST_SECONDS
                return
            if is_late and self._late_replies < PATIENCE:
                self._missed += 1
                return
            self.away_since = now
            self._missed = 0
            self._next_try = now + REST_SECONDS
            if self._is_retired:
                return
        _log.warning("%s is away, views answer without it: %s", self._name, error)

    def succeeded(self, asked_at: float) -> None:
        """The store answered who asked then. What was asked before an outage does not end it."""
        if self.away_since is None and self._late_replies == 0 and self._missed == 0:
            return
        with self._lock:
            away_since, now = self.away_since, self._clock()
            if away_since is not None and asked_at < away_since:
                return
            self.away_since, self._late_replies = None, 0
            if away_since is not None:
                self._back_at = now
            is_told = away_since is not None or now >= self._told_slow_until
            missed, self._missed = (self._missed, 0) if is_told else (0, self._missed)
            if missed:
                self._told_slow_until = now + _SILENCE_SECONDS
        if self._is_retired:
            return
        if away_since is not None:
            _log.warning("%s is back after %.1f s", self._name, now - away_since)
        elif missed:
            _log.warning(_SLOW, self._name, missed)

    def missed(self) -> None:
        """The time of a request was over before the store could answer. It is told when it does."""
        with self._lock:
            self._missed += 1

    def refused(self, error: Exception, asked_at: float) -> None:
        """The store answered with an error: no outage, and logged once a minute for each kind."""
        self.succeeded(asked_at)
        self.not_asked(error)

    def not_asked(self, error: Exception) -> None:
        """It could not be asked, as if it refused. Whether it would have answered, nobody knows."""
        with self._lock:
            now = self._clock()
            if self._is_retired or now < self._told_refusals_until.get(type(error), -math.inf):
                return
            self._told_refusals_until[type(error)] = now + _SILENCE_SECONDS
        _log.warning("%s refuses something, views answer without that: %s", self._name, error)

    def retire(self) -> None:
        """Others serve in the store's place. That ends an outage, and nothing is logged later."""
        with self._lock:
            away_since, now = self.away_since, self._clock()
            self._is_retired = True
        if away_since is not None:
            _log.warning("%s is replaced after %.1f s", self._name, now - away_since)
