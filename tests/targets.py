"""What purges can name, with what matters to a test."""

from typing import Any

from msgspec.structs import replace

from flask_larder.entry import NO_TARGETS, Targets


def targets(*tags: str, **others: Any) -> Targets:
    """Those with these *tags*, and *others* by name; the rest is not known."""
    return replace(NO_TARGETS, tags=tags, **others)
