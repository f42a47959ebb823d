"""What Flask gets of a hit, and what is noted of it."""

from contextlib import suppress
from time import perf_counter
from typing import Any

from flask import Flask
from flask.ctx import RequestContext

from flask_larder.ask import Hit
from flask_larder.codec import decode_value
from flask_larder.entry import StoredResponse
from flask_larder.errors import CorruptEntry
from flask_larder.flask.call import Call
from flask_larder.flask.outcome import Outcome, tell_in_fields
from flask_larder.flask.reads import note_selecting
from flask_larder.flask.responses import response_of
from flask_larder.flask.tagging import give_tags
from flask_larder.flask.unkeyed import recall
from flask_larder.status import CacheStatus


def new_outcome(call: Call, status: CacheStatus) -> Outcome:
    """The outcome of *call*, as far as its options and the settings tell it."""
    settings = call.wiring.settings
    return Outcome(
        status,
        send=settings["CACHE_SEND_STATUS"],
        vary=frozenset(call.options.vary_fields),
        send_tags=settings["CACHE_SEND_TAGS"],
        hit_indication=call.options.response_hit_indication,
    )


def answer_known(
    call: Call, context: RequestContext, hit: Hit, *, began: float, is_outermost: bool
) -> Any:
    """What Flask gets of a known *hit*, as if the engine had found it. To find it *began* then."""
    tell_in_fields(context)
    outcome = new_outcome(call, hit.status)
    outcome.whole, outcome.tags = True, hit.response.targets.tags
    if outcome.tags:
        give_tags(outcome.tags)
    try:
        note_hit(call, context, outcome, hit, is_outermost=is_outermost)
        return given_of(context.app, outcome, hit.response, is_outermost=is_outermost)
    finally:
        outcome.cache_ms = (perf_counter() - began) * 1000
        outcome.record(context.request)


def note_hit(
    call: Call, context: RequestContext, outcome: Outcome, hit: Hit, *, is_outermost: bool
) -> None:
    """Note what whoever called depends on, and what is told of *hit*."""
    recall(call, context)
    note_selecting(outcome.vary | hit.names)
    if not _key_has_arguments(call, context):
        call.tell_ignored_arguments(hit.response.targets)
    outcome.age = hit.age
    outcome.is_as_stored = is_outermost


def _key_has_arguments(call: Call, context: RequestContext) -> bool:
    """Whether the key tells all arguments apart: the URL, if there are none but its own."""
    if call.args or not call.options.is_template:
        return False
    of_url = context.request.view_args or {}
    for name, value in call.kwargs.items():  # noqa: SIM110 - a generator takes longer
        if of_url.get(name) is not value:
            return False
    return True


def given_of(app: Flask, outcome: Outcome, stored: StoredResponse, *, is_outermost: bool) -> Any:
    """What the view returned, where a decorator waits for that; else the response."""
    if stored.value is not None and not is_outermost:
        with suppress(CorruptEntry):
            return decode_value(stored.value)
    outcome.made, outcome.is_own = response_of(app, stored), True
    return outcome.made
