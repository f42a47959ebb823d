"""Whether one process hears of purges in time, and how that is told."""

import logging
import math
import time
from typing import Final

_log = logging.getLogger("flask_larder")

SILENCE_SECONDS: Final = 1.0
"""How long nothing may be heard of the log before that is told."""


class Watch:
    """When the log called *key* was last known to the end, by the monotonic clock.

    What is known holds for *unwatched_seconds* after that: *holds_until* then, by that clock, if
    nothing more is heard.
    """

    def __init__(self, key: str, unwatched_seconds: float) -> None:
        self._key = key
        self._unwatched_seconds = unwatched_seconds
        self._began_at = time.monotonic()
        self._answered_at = self.holds_until = -math.inf
        self._silent_since: float | None = None  # where that has been told

    @property
    def is_loaded(self) -> bool:
        """Whether it ever was."""
        return self._answered_at > -math.inf

    def answered(self, asked_at: float) -> None:
        """All is known that the log had when it was asked then."""
        if asked_at > self._answered_at:
            self._answered_at = asked_at
            self.holds_until = asked_at + self._unwatched_seconds

    def tell(self, cause: Exception | None = None) -> None:
        """Log whether it is silent, if that has changed. *cause* is why it could not be asked."""
        heard_at = max(self._answered_at, self._began_at)
        now = time.monotonic()
        if now - heard_at <= SILENCE_SECONDS:
            self._tell_end(heard_at)
        elif self._silent_since is None and cause is not None:
            self._silent_since = heard_at
            left = max(0.0, self._answered_at + self._unwatched_seconds - now)
            use = f"is used for another {left:.1f} s" if left else "is not used"
            _log.warning(
                "Purges in %s are not heard of, what is stored %s: %s", self._key, use, cause
            )

    def _tell_end(self, heard_at: float) -> None:
        silent_since, self._silent_since = self._silent_since, None
        if silent_since is not None:
            silence = heard_at - silent_since
            _log.warning("Purges in %s are heard of again after %.1f s", self._key, silence)
