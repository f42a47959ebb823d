"""Work that no request waits for: in a few threads of each process, and bounded."""

import logging
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from multiprocessing.util import Finalize
from typing import Final

from flask_larder.per_process import PerProcess
from flask_larder.threads import start

_log = logging.getLogger("flask_larder")

MOST_THREADS: Final = 4
MOST_WAITING: Final = 100
"""How many pieces of work wait at most for a thread. Further ones are not taken."""

DRAIN_SECONDS: Final = 5.0
"""How long a process that ends waits for work that it has taken."""

REST_SECONDS: Final = 0.1
"""How long a key is not taken again where there was nothing to do for it."""

_MOST_RESTS: Final = 1000


class Background:
    """Has work done, for each key one at a time."""

    def __init__(self) -> None:
        self._here = PerProcess(_Workers)

    def offer(self, key: str, work: Callable[[], bool]) -> bool:
        """Have *work* done soon; false where that is not taken. It returns whether it did any.

        It is not taken while work for *key* is under way, or where too much waits.
        """
        return self._here().offer(key, work)

    def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Take nothing more, and wait until all is done; false if it is not after *seconds*."""
        return self._here().drain(seconds)


class _Workers:
    """The threads of one process. They end when there is nothing to do."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._waiting: deque[tuple[str, Callable[[], bool]]] = deque()
        self._under_way: set[str] = set()
        self._rests: OrderedDict[str, float] = OrderedDict()
        self._threads = 0
        self._is_closed = False
        self._is_registered = False

    def offer(self, key: str, work: Callable[[], bool]) -> bool:
        """See :meth:`Background.offer`."""
        with self._changed:
            if key in self._under_way or not self._has_room() or self._rests_now(key):
                return False
            self._under_way.add(key)
            self._waiting.append((key, work))
            if self._threads >= MOST_THREADS:
                return True
            self._threads += 1
            if not self._is_registered:
                self._is_registered = True
                # Runs where a process ends in order, also in servers' workers, which skip atexit.
                Finalize(None, self.drain, args=(DRAIN_SECONDS,), exitpriority=0)
        return start("background", self._work) or self._has_other_threads()

    def drain(self, seconds: float) -> bool:
        """See :meth:`Background.drain`."""
        with self._changed:
            self._is_closed = True
            return self._changed.wait_for(lambda: not self._threads, seconds)

    def _has_room(self) -> bool:
        return not self._is_closed and len(self._waiting) < MOST_WAITING

    def _rests_now(self, key: str) -> bool:
        return time.monotonic() < self._rests.get(key, 0.0)

    def _has_other_threads(self) -> bool:
        """Where no thread can start, leave the work to those that run, or undone."""
        with self._changed:
            self._threads -= 1
            if not self._threads:
                self._waiting.clear()
                self._under_way.clear()
            return self._threads > 0

    def _work(self) -> None:
        while True:
            with self._changed:
                if not self._waiting:
                    self._threads -= 1
                    self._changed.notify_all()
                    return
                key, work = self._waiting.popleft()
            has_worked = False
            try:
                has_worked = work()
            except (Exception, SystemExit):  # noqa: BLE001 - the thread is for other work, too
                _log.exception("Work in the background failed")
            self._done(key, has_worked=has_worked)

    def _done(self, key: str, *, has_worked: bool) -> None:
        with self._changed:
            self._under_way.discard(key)
            self._rests.pop(key, None)
            if not has_worked:
                self._rests[key] = time.monotonic() + REST_SECONDS
                if len(self._rests) > _MOST_RESTS:
                    self._rests.popitem(last=False)
