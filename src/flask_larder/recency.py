"""Whether what one request makes is recent enough for another that waits, after a purge."""

from flask_larder.entry import Position, Targets
from flask_larder.flights import Work
from flask_larder.purges import PurgeLog


class Recency:
    """Judges by *purges* what is shared in memory.

    Where it *is heard enough*, a request need know no later purges than its process had heard of
    when it came, as for what is remembered; else all that had returned by then.
    """

    def __init__(self, purges: PurgeLog, *, is_heard_enough: bool) -> None:
        self._purges = purges
        self._is_heard_enough = is_heard_enough or purges.is_local

    def seen_before(self) -> Position | None:
        """The latest purge that is seen without a look into the store; ``None`` for unknown.

        So it is where the process has not been able to hear of purges for a while.
        """
        table = self._purges.known() if self._is_heard_enough else None
        return None if table is None else table.last

    def is_as_new(self, made: Position | None, seen: Position | None, *targets: Targets) -> bool:
        """Whether what has *targets* is as new as a request may demand.

        Who made it came when *made* was the latest purge; the request had *seen* one before it
        waited. It came before any later one, and may be answered with what such a purge hits.
        """
        table = self._purges.known()
        if table is None or made is None or seen is None:
            return False
        return not table.hits_between(made, seen, *targets)

    def is_too_old(self, work: Work, seen: Position | None) -> bool:
        """Whether *work* certainly makes what is not :meth:`as new <is_as_new>`."""
        table, since = self._purges.known(), work.since
        if since is None or table is None or seen is None or table.last == since:
            return False
        return table.hits_between(since, seen, work.expects(), unknown=False)

    def are_purged_since(self, since: Position | None) -> bool:
        """Whether there was a purge after *since*, of anything."""
        table = self._purges.known()
        return since is not None and table is not None and table.last != since
