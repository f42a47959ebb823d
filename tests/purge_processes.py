"""What the tests of the log of purges share: processes, as far as they know it."""

import redis

from flask_larder.entry import Position
from flask_larder.purges import Purge
from flask_larder.redis import Address, AnyLinks, Links, RedisPurges, RedisStore
from flask_larder.redis.purge_log import NAME
from tests.conftest import RedisServer
from tests.targets import targets

PREFIX = "p_"
LOG = PREFIX + NAME
TAGGED = targets("cat")
CATS = Purge((("tag", "cat"),))
DOGS = Purge((("tag", "dog"),))
MOST = 10_000


class Process:
    """What one process has: a log and a store, over links of its own."""

    def __init__(self, links: AnyLinks, **options: object) -> None:
        arguments = {"most": MOST, "unwatched_seconds": 5.0, **options}
        self.links = links
        self.purges = RedisPurges(links, PREFIX, **arguments)
        self.store = RedisStore(links, PREFIX, self.purges)

    def without_follower(self) -> "Process":
        """It, where only look-ups read the log."""
        self.purges.stop()
        return self

    @property
    def last(self) -> Position | None:
        """The latest purge that it knows, or that it knew while it could tell."""
        return self.purges._here().reader.table.last

    def verdict(self, position: Position) -> object:
        """What it thinks of what was stored then and is tagged with "cat"."""
        table = self.purges.known()
        assert table is not None
        return table.verdict(position, TAGGED)

    @property
    def is_followed(self) -> bool:
        """Whether the follower has read it all, and knows the server."""
        return self.purges.known() is not None and self.purges._here().reader.server != ""


def process_at(server: RedisServer, **options: object) -> Process:
    """A process that uses *server*."""
    return Process(Links(Address(server.url, timeout=5.0)), **options)


def records(client: redis.Redis) -> list[dict[bytes, bytes]]:
    """The fields of all records of the log."""
    return [fields for _, fields in client.xrange(LOG)]


def alls(client: redis.Redis) -> int:
    """How many of them hit everything."""
    return sum(b"all" in fields for fields in records(client))
