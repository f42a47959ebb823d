"""When a process last heard of purges."""

import time

import pytest

from flask_larder.redis.watch import Watch


def test_an_answer_that_was_asked_for_earlier_takes_nothing_away() -> None:
    """Threads ask at the same time, and the one that asked first may be answered last."""
    watch, now = Watch("purges", 5.0), time.monotonic()
    assert not watch.is_loaded
    for asked_at in (now, now - 1.0):
        watch.answered(asked_at)
        assert watch.is_loaded
        assert watch.holds_until == now + 5.0


@pytest.mark.parametrize(
    ("silent_for", "use"), [(3.0, "used for another 2.0 s"), (6.0, "not used")]
)
def test_silence_is_told_with_what_becomes_of_what_is_stored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, silent_for: float, use: str
) -> None:
    """Once, as its end is."""
    caplog.set_level("INFO", "flask_larder")
    watch, now = Watch("purges", 5.0), time.monotonic()
    watch.answered(now)
    cause = ConnectionError("refused")
    with monkeypatch.context() as later:
        later.setattr(time, "monotonic", lambda: now + silent_for)
        for _ in range(3):
            watch.tell(cause)
        watch.answered(now + silent_for)
        for _ in range(3):
            watch.tell()
    told, ended = caplog.messages
    assert told == f"Purges in purges are not heard of, what is stored is {use}: refused"
    assert ended == f"Purges in purges are heard of again after {silent_for} s"
