"""A purge is final: over several processes, in whichever order things happen."""

from functools import partial

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from flask_larder.purges import Purge
from tests.purge_model import LOSSES, World, use_simulated_time
from tests.purge_visits import ALL_TARGETS, PAGES, QUERIES, TAGGED, Page

STORIES = settings(max_examples=100, stateful_step_count=50)

processes = st.integers(0, 2)
# What meets often comes first and more often.
pages = st.sampled_from(PAGES[:1]) | st.sampled_from(PAGES)
targets = st.sampled_from(ALL_TARGETS[:3]) | st.sampled_from(ALL_TARGETS)
purges = st.builds(
    Purge,
    st.lists(targets, min_size=1, max_size=2).map(tuple),
    st.sampled_from([False, False, True]),
)
losses = st.sampled_from(LOSSES)
seconds = st.sampled_from([0.001, 0.01, 0.4, 3.0, 6.0, 21.0])


class CalmWorld(RuleBasedStateMachine):
    """Requests, views that take time, purges, and followers that lag."""

    is_calm = True
    most = st.just(1000)

    @initialize(data=st.data(), parts=st.booleans(), remembers=st.booleans())
    def begin(self, data: st.DataObject, parts: bool, remembers: bool) -> None:
        most = data.draw(self.most)
        self.world = World(most=most, parts=parts, remembers=remembers, is_calm=self.is_calm)

    @rule(
        process=processes,
        page=pages,
        query=st.sampled_from(QUERIES),
        tags=st.sampled_from(TAGGED),
        at_once=st.booleans(),
    )
    def come(
        self, process: int, page: Page, query: str, tags: tuple[str, ...], at_once: bool
    ) -> None:
        comes_to = self.world.processes[process]
        visit = self.world.come(comes_to, page, query, tags)
        if at_once and visit in comes_to.leading:
            self.world.finish(comes_to, visit)

    @rule(process=processes)
    def come_for_all(self, process: int) -> None:
        for page in PAGES:
            for query in QUERIES if page.has_query else QUERIES[:1]:
                self.world.come(self.world.processes[process], page, query)

    def teardown(self) -> None:
        for process in range(3):
            self.come_for_all(process)

    def views(self) -> list[tuple[object, object]]:
        return [(process, v) for process in self.world.processes for v in process.leading]

    @precondition(lambda self: self.views())
    @rule(number=st.integers(0, 20), fails=st.booleans())
    def finish(self, number: int, fails: bool) -> None:
        views = self.views()
        self.world.finish(*views[number % len(views)], fails=fails)

    @rule(process=processes, purge=purges)
    def purge(self, process: int, purge: Purge) -> None:
        self.world.purge(self.world.processes[process], purge)

    @rule(process=processes)
    def follow(self, process: int) -> None:
        self.world.follow(self.world.processes[process])

    @rule(seconds=seconds)
    def pass_by(self, seconds: float) -> None:
        self.world.pass_by(seconds)


class FaultyWorld(CalmWorld):
    """Whatever can go wrong does, also between two commands of one request."""

    is_calm = False
    most = st.sampled_from([3, 8, 1000])

    @rule(loss=losses, process=processes)
    def lose(self, loss: str, process: int) -> None:
        self.world.lose(loss)
        if process < 2:
            self.come_for_all(process)

    @rule(number=st.integers(0, 20))
    def evict(self, number: int) -> None:
        if keys := list(self.world.redis.contents.values):
            self.world.redis.drop(keys[number % len(keys)])

    @rule(process=processes, is_cut=st.booleans())
    def cut(self, process: int, is_cut: bool) -> None:
        self.world.processes[process].links.is_cut = is_cut

    @rule(process=processes)
    def restart(self, process: int) -> None:
        self.world.restart(process)

    @rule(process=processes, seconds=st.floats(-30, 30), is_server=st.booleans())
    def step_clock(self, process: int, seconds: float, is_server: bool) -> None:
        if is_server:
            self.world.redis.ms += round(seconds * 1000)
        else:
            self.world.processes[process].clock.now += seconds

    @rule(commands=st.integers(0, 3), loss=losses)
    def lose_between(self, commands: int, loss: str) -> None:
        self.world.redis.interrupt(commands, partial(self.world.lose, loss))

    @rule(commands=st.integers(0, 3), process=processes, purge=purges)
    def purge_between(self, commands: int, process: int, purge: Purge) -> None:
        def interrupt() -> None:
            other = self.world.processes[process]
            if not other.is_reading:
                self.world.purge(other, purge)

        self.world.redis.interrupt(commands, interrupt)


def test_a_purge_is_final(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets what is older than a purge that had returned, and nothing else is refused."""
    use_simulated_time(monkeypatch)
    run_state_machine_as_test(CalmWorld, settings=STORIES)


def test_a_purge_is_final_in_trouble(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody gets what is older than a purge that had returned.

    A purge that a failover has lost binds at once who knew it, and all others as soon as one
    process has found that another server answers than the one that the log names.
    """
    use_simulated_time(monkeypatch)
    run_state_machine_as_test(FaultyWorld, settings=STORIES)


def test_who_lags_behind_a_log_that_is_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """It begins the log anew behind what others had known and stored meanwhile."""
    use_simulated_time(monkeypatch)
    world = World(is_calm=False)
    lagging, ours, _ = world.processes
    world.follow(lagging)
    world.pass_by(0.01)
    world.purge(ours, Purge((("tag", "dog"),)))
    world.finish(ours, world.come(ours, PAGES[0]))
    world.purge(ours, Purge((("path", PAGES[0].path),)))
    world.lose("log")
    world.come(lagging, PAGES[0])
    assert world.hits == 0
