"""A purge is final: many stories by dice, which come to more than hypothesis has time for."""

import random
from collections.abc import Callable
from functools import partial

import pytest

from flask_larder.purges import Purge
from tests.purge_model import LOSSES, Process, World, use_simulated_time
from tests.purge_visits import ALL_TARGETS, PAGES, QUERIES, TAGGED, Page


class Story:
    """What happens in *world*, by *dice*."""

    def __init__(self, world: World, dice: random.Random) -> None:
        self.world = world
        self.dice = dice
        self.pages = dice.sample(PAGES, 2)

    @property
    def process(self) -> Process:
        """One of them."""
        return self.dice.choice(self.world.processes)

    def page(self) -> Page:
        return self.dice.choice(self.pages)

    def come(self) -> None:
        query = self.dice.choice(QUERIES) if self.dice.random() < 0.2 else ""
        self.world.come(self.process, self.page(), query, self.dice.choice(TAGGED))

    def come_and_go(self) -> None:
        process = self.process
        visit = self.world.come(process, self.page(), "", self.dice.choice(TAGGED))
        if visit in process.leading:
            self.world.finish(process, visit, fails=self._fails())

    def finish(self) -> None:
        process = self.process
        if process.leading:
            visit = self.dice.choice(process.leading)
            self.world.finish(process, visit, fails=self._fails())

    def _fails(self) -> bool:
        return not self.world.is_calm and self.dice.random() < 0.2

    def purge(self) -> None:
        self._purge_by(self.process)

    def _purge_by(self, process: Process) -> None:
        if not process.is_reading:
            targets = self.dice.sample(ALL_TARGETS, self.dice.choice([1, 1, 2]))
            self.world.purge(process, Purge(tuple(targets), soft=self.dice.random() < 0.2))

    def follow(self) -> None:
        self.world.follow(self.process)

    def pass_by(self) -> None:
        self.world.pass_by(self.dice.choice([0.001, 0.01, 0.4, 3.0, 6.0]))

    def lose(self) -> None:
        self.world.lose(self.dice.choice(LOSSES))

    def fail_over(self) -> None:
        self.world.lose(self.dice.choice(["snapshot", "failover"]))

    def trim(self) -> None:
        self.world.lose("trim")

    def evict(self) -> None:
        if keys := list(self.world.redis.contents.values):
            self.world.redis.drop(self.dice.choice(keys))

    def cut(self) -> None:
        self.process.links.is_cut = self.dice.random() < 0.5

    def restart(self) -> None:
        self.world.restart(self.dice.randrange(3))

    def step_clock(self) -> None:
        seconds = self.dice.uniform(-30, 30)
        if self.dice.random() < 0.5:
            self.world.redis.ms += round(seconds * 1000)
        else:
            self.process.clock.now += seconds

    def lose_between(self) -> None:
        loss = self.dice.choice(LOSSES)
        self.world.redis.interrupt(self.dice.randrange(4), partial(self.world.lose, loss))

    def purge_between(self) -> None:
        purge = partial(self._purge_by, self.process)
        self.world.redis.interrupt(self.dice.randrange(4), purge)

    def end(self) -> None:
        """Everybody comes for everything."""
        for process in self.dice.sample(self.world.processes, 3):
            for page in self.pages:
                self.world.come(process, page)


Step = Callable[[Story], None]
USUAL: list[Step] = [
    *[Story.come_and_go] * 4,
    *[Story.come] * 2,
    *[Story.finish] * 2,
    *[Story.purge] * 2,
    Story.follow,
    Story.pass_by,
]
TROUBLES: list[Step] = [
    *(Story.lose, Story.fail_over, Story.trim, Story.evict, Story.cut, Story.restart),
    *(Story.step_clock, Story.lose_between, Story.purge_between),
]


def test_a_purge_is_final_in_many_troubles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each story has some of the troubles, so that they do not hide each other."""
    use_simulated_time(monkeypatch)
    hits = stale = lookups = 0
    for seed in range(2000):
        dice = random.Random(seed)
        most, parts = dice.choice([3, 8, 1000]), dice.random() < 0.2
        remembers = dice.random() < 0.3
        world = World(most=most, parts=parts, remembers=remembers, is_calm=False)
        story = Story(world, dice)
        steps = USUAL + dice.sample(TROUBLES, dice.randrange(1, 4))
        for process in story.world.processes:
            process.links.is_cut = Story.cut in steps and dice.random() < 0.5
        for step in dice.choices(steps, k=40):
            step(story)
        story.end()
        hits, lookups = hits + story.world.hits, lookups + story.world.lookups
        stale += story.world.stale
    assert hits > lookups / 10
    assert stale > lookups / 200
    assert lookups > 30_000


def test_hardly_anything_is_refused_that_no_purge_hit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that is stored, by what was known when it was made.

    And hardly any look-up has the view run again because a process had not heard of a purge when
    the request came: what is made then is taken for older than it is.
    """
    use_simulated_time(monkeypatch)
    world = World()
    story = Story(world, random.Random(7))
    story.pages = list(PAGES)
    steps: list[Step] = [Story.come, Story.finish, Story.follow, Story.pass_by, Story.purge]
    for step in story.dice.choices(steps, weights=[100, 56, 37, 6, 1], k=30_000):
        step(story)
    assert world.lookups > 10_000
    assert world.hits > 10_000
    assert world.needless == 0
    assert world.wasted < world.lookups / 100
