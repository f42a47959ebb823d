"""A circuit breaker: while Redis is away, requests do not wait for it one by one."""

import logging
import math
import threading
from collections.abc import Callable
from typing import Final

_log = logging.getLogger("flask_larder.redis")

REST_SECONDS: Final = 1.0
"""How long Redis is left alone after a failure, before one request tries it again."""

_SILENCE_SECONDS: Final = 60.0


class Breaker:
    """Closed while Redis answers; open for :data:`REST_SECONDS` after a failure; then one try.

    Logs one line for an outage when it begins, and one when it is over. *clock* returns seconds
    on a scale that only goes forward.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failed_at: float | None = None  # when the outage began; None while closed
        self._next_try = 0.0
        self._silent_until = -math.inf

    def allows(self) -> bool:
        """Whether Redis may be asked now. While it is away, one caller a second may try."""
        if self._failed_at is None:  # read without the lock: the usual case costs nothing
            return True
        with self._lock:
            now = self._clock()
            if now < self._next_try:
                return self._failed_at is None
            self._next_try = now + REST_SECONDS
            return True

    def failed(self, error: Exception) -> None:
        """Redis did not answer."""
        with self._lock:
            now = self._clock()
            self._next_try = now + REST_SECONDS
            if self._failed_at is not None:
                return
            self._failed_at = now
        _log.warning("Redis is away, views answer without it: %s", error)

    def refused(self, error: Exception) -> None:
        """Redis answered with an error: no outage, and logged once a minute at most."""
        self.succeeded()
        with self._lock:
            now = self._clock()
            if now < self._silent_until:
                return
            self._silent_until = now + _SILENCE_SECONDS
        _log.warning("Redis refuses, views answer without it: %s", error)

    def succeeded(self) -> None:
        """Redis answered."""
        if self._failed_at is None:
            return
        with self._lock:
            failed_at, self._failed_at = self._failed_at, None
            now = self._clock()
        if failed_at is not None:
            _log.warning("Redis is back after %.1f s", now - failed_at)
