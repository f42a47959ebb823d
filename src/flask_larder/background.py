"""Work that no request waits for: in a few threads of each process, and bounded."""

import logging
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import partial
from multiprocessing.util import Finalize
from typing import Final, TypeAlias

from flask_larder.per_process import PerProcess
from flask_larder.threads import start

_log = logging.getLogger("flask_larder")

MOST_THREADS: Final = 4
MOST_WAITING: Final = 100
"""How many pieces of work wait at most for a thread. Further ones are not taken."""

DRAIN_SECONDS: Final = 5.0
"""How long a process that ends waits for work that it has taken."""

FAILED_SECONDS: Final = 60.0
"""For how long no more work is taken for a key whose work has failed in a way of its own."""

_MOST_RESTS: Final = 1000

Work: TypeAlias = Callable[[], float]
"""Returns for how many seconds no more work is to be taken for its key."""


class Background:
    """Has work done, for each key one at a time."""

    def __init__(self) -> None:
        self._here = PerProcess(_Workers)

    def takes(self, key: Hashable) -> bool:
        """Whether it would take work for *key* now.

        Not while such work is under way, for the time after that which it has asked for, or where
        too much waits.
        """
        return self._here().takes(key)

    def offer(self, key: Hashable, work: Work) -> bool:
        """Have *work* done soon; false where it is not taken."""
        return self._here().offer(key, work)

    def drain(self, seconds: float = DRAIN_SECONDS) -> bool:
        """Take nothing more, and wait until all is done; false if it is not after *seconds*."""
        return self._here().drain(seconds)


class _Workers:
    """The threads of one process. They end when there is nothing to do."""

    def __init__(self) -> None:
        self._lock = threading.RLock()  # with a Condition, a signal may come before it is entered
        self._changed = threading.Condition(self._lock)
        self._waiting: dict[Hashable, Work] = {}
        self._under_way: set[Hashable] = set()
        self._rests: OrderedDict[Hashable, float] = OrderedDict()
        self._threads: set[object] = set()  # by what stands for each, also while it starts
        self._is_closed = False
        self._is_registered = False

    def takes(self, key: Hashable) -> bool:
        """See :meth:`Background.takes`."""
        has_room = not self._is_closed and len(self._waiting) < MOST_WAITING
        rests = time.monotonic() < self._rests.get(key, 0.0)
        return has_room and not (rests or key in self._under_way or key in self._waiting)

    def offer(self, key: Hashable, work: Work) -> bool:
        """See :meth:`Background.offer`."""
        with self._lock:
            if not self.takes(key):
                return False
            try:
                self._waiting[key] = work
                if len(self._threads) < MOST_THREADS:
                    self._start_one()
            finally:  # whatever came in between: nothing waits for a thread that there is not
                if not self._threads:
                    self._waiting.clear()
            return key in self._waiting

    def drain(self, seconds: float) -> bool:
        """See :meth:`Background.drain`."""
        with self._lock:
            self._is_closed = True
            return self._changed.wait_for(lambda: not self._threads, seconds)

    def _start_one(self) -> None:
        """Start a thread; where none can start, leave the work to those that run, or undone."""
        if not self._is_registered:
            # Runs where a process ends in order, also in servers' workers, which skip atexit.
            Finalize(None, self.drain, args=(DRAIN_SECONDS,), exitpriority=0)
            self._is_registered = True
        starting, is_started = object(), False
        try:
            self._threads.add(starting)
            is_started = start("background", partial(self._work, starting))
        finally:
            if not is_started:
                self._threads.discard(starting)

    def _work(self, starting: object) -> None:
        me = object()
        with self._lock:
            self._threads.discard(starting)  # it is not there if an exception came just then
            self._threads.add(me)
        while True:
            with self._lock:
                if not self._waiting:
                    self._threads.discard(me)
                    self._changed.notify_all()
                    return
                key = next(iter(self._waiting))
                self._under_way.add(key)
                work = self._waiting.pop(key)
            rest_seconds = FAILED_SECONDS
            try:
                rest_seconds = work()
            except BaseException:  # noqa: BLE001 - whatever it is, the thread is for other work, too
                _log.exception("Work in the background failed")
            self._done(key, rest_seconds)

    def _done(self, key: Hashable, rest_seconds: float) -> None:
        with self._lock:
            self._under_way.discard(key)
            self._rests.pop(key, None)
            if rest_seconds:
                self._rests[key] = time.monotonic() + rest_seconds
                if len(self._rests) > _MOST_RESTS:
                    self._rests.popitem(last=False)
