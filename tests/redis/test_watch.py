"""When a process last heard of purges."""

import time

from flask_larder.redis.watch import Watch


def test_an_answer_that_was_asked_for_earlier_takes_nothing_away() -> None:
    """Threads ask at the same time, and the one that asked first may be answered last."""
    watch, now = Watch("purges", 5.0), time.monotonic()
    assert not watch.is_loaded
    for asked_at in (now, now - 1.0):
        watch.answered(asked_at)
        assert watch.is_loaded
        assert watch.holds_until == now + 5.0
