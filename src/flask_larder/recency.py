"""Whether what was made is recent enough for who asks, by what was purged since."""

from collections.abc import Callable

from flask_larder.entry import NO_TARGETS, Position, Targets
from flask_larder.flights import Work
from flask_larder.purges import GONE, VALID, PurgeLog, Verdict


class Recency:
    """Judges by *purges* what is stored, and what is shared in memory.

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

    def verdict(
        self,
        made: Position | None,
        came: Position | None,
        targets: Targets,
        url: Targets = NO_TARGETS,
    ) -> Verdict:
        """What the purges say of what has *targets*, for a request of *url* that *came* then.

        It was made for one that came at *made*. What is not in the store but shared between
        requests is judged as far as purges are known: while nobody can tell, it is as good as what
        the request would have made, unless more was known in between.
        """
        if made is None:
            return VALID if came is None else GONE
        table = self._purges.known()
        if table is None:
            latest = self._purges.position()
            return VALID if latest is None or made >= latest else GONE
        return table.verdict(made, targets, url)

    def verdict_on_shared(
        self,
        made: Position | None,
        came: Position | None,
        seen: Position | None,
        targets: Targets,
        url: Targets = NO_TARGETS,
    ) -> Verdict:
        """As :meth:`verdict`, for what another request was answered while this one waited.

        *seen* is the latest purge that this one has seen before it waited.
        """
        is_as_new = self.is_as_new(made, seen, targets, url)
        return VALID if is_as_new else self.verdict(made, came, targets, url)

    def verdict_since(self, since: Position | None, targets: Callable[[], Targets]) -> Verdict:
        """What the purges after *since* say of what has *targets*, asked for if there are any.

        While nobody can tell, there are none.
        """
        table = self._purges.known()
        if since is None or table is None or table.last == since:
            return VALID
        return table.verdict(since, targets())

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
