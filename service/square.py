"""``GET /square/<number>``: the square of an integer."""

import logging
import re

from flask import Blueprint, abort

from service.cache import cache

MOST_DIGITS = 1000  # Python itself converts at most 4,300, and the square has twice as many

blueprint = Blueprint("square", __name__)
logger = logging.getLogger("service")

# One way to write each integer, so that one integer is one URL and one stored response.
_canonical = re.compile("0|-?[1-9][0-9]*")


@blueprint.get("/square/<number>")
@cache.cached(timeout=50)
def square(number: str) -> dict[str, int]:
    """Compute the square of an integer, which may be negative."""
    if not _canonical.fullmatch(number):
        abort(404, "This is no integer: give digits, with no zero before them and no plus sign.")
    if len(number.removeprefix("-")) > MOST_DIGITS:
        abort(400, f"The number has more than {MOST_DIGITS} digits.")
    logger.info("Computing the square of %s", number)
    return {"computed": int(number) ** 2}
