"""A stored response that was found to be the same still: freshened (RFC 9111 section 4.3.4)."""

from msgspec.structs import replace

from flask_larder.entry import Forwarded, Reads, StoredResponse, Targets
from flask_larder.headers import (
    FOR_ALL,
    Fields,
    Head,
    parse_cache_control,
    parse_vary,
    updated_fields,
    without,
)


class Freshened:
    """What was stored, with the fields of the answer that confirms it.

    A :class:`~flask_larder.entry.Forwarded`, as if whoever has confirmed it had sent all of it.
    *told* are the fields of the confirmation that count.
    """

    def __init__(self, stored: StoredResponse, confirmation: Forwarded, told: Fields) -> None:
        self._stored = stored
        self._confirmation = confirmation
        self.status = stored.status
        # Its age begins anew: without a date of its own, it was made when it came.
        self.fields: Fields = updated_fields(without(stored.fields, {"date"}), told)

    @property
    def refusal(self) -> str | None:
        """As that of the confirmation."""
        return self._confirmation.refusal

    @property
    def unsaid(self) -> frozenset[str]:
        """As that of the confirmation, which has to say itself that what was not for all is."""
        if not self._stored.anonymous:
            return self._confirmation.unsaid
        said = parse_cache_control(Head(self._confirmation.fields))
        return self._confirmation.unsaid | (FOR_ALL - said.keys())

    def targets(self) -> Targets:
        """Those of now, with all tags: a view that has nothing to make may not name its own."""
        now = self._confirmation.targets()
        return replace(now, tags=tuple(dict.fromkeys((*self._stored.targets.tags, *now.tags))))

    def cost(self) -> float:
        """What it took to confirm it: with that it came, and is as old (RFC 9111 section 4.2.3)."""
        return self._confirmation.cost()

    def value(self) -> bytes | None:
        """What is kept beside the response."""
        return self._stored.value

    def read_body(self, limit: int) -> bytes:  # noqa: ARG002 - it was within the limit
        """The stored body."""
        return self._stored.body

    def reads(self) -> Reads:
        """What was looked at now, and what it varied by, or was made of, goes on to count."""
        reads = self._confirmation.reads()
        return replace(
            reads,
            selecting=reads.selecting | parse_vary(self._stored.fields),
            all_fields=reads.all_fields or self._stored.anonymous,
        )
