"""A cached view: what it answers is kept as a response."""

from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from functools import partial
from time import perf_counter
from typing import Any, Final

from flask.ctx import RequestContext
from msgspec import Struct
from msgspec.structs import replace
from werkzeug.exceptions import GatewayTimeout

from flask_larder.ask import Ask, Hit
from flask_larder.engine import OTHER_KEY, is_error
from flask_larder.entry import Request, StoredResponse, Targets
from flask_larder.flask.asking import core_request, host_is_refused
from flask_larder.flask.before_flask import teach
from flask_larder.flask.call import Call, OptionFailed
from flask_larder.flask.conditions import is_conditional, on_condition
from flask_larder.flask.hits import answer_known, given_of, new_outcome, note_hit
from flask_larder.flask.known_hits import find_known, know
from flask_larder.flask.named_reads import Read
from flask_larder.flask.outcome import tell_in_fields
from flask_larder.flask.reads import (
    Watch,
    covered_by,
    fields_of_key,
    is_anonymous,
    is_watched,
    note_selecting,
    position_of,
)
from flask_larder.flask.responses import response_of
from flask_larder.flask.revalidation import (
    Revalidation,
    revalidate_later,
    revalidation_of,
    tell_error,
)
from flask_larder.flask.signals import cache_view_hit, cache_view_miss
from flask_larder.flask.tagging import Tagging, Tags, give_tags
from flask_larder.flask.tracked_session import SESSION
from flask_larder.flask.tracking import track_requests
from flask_larder.flask.unkeyed import (
    NOTHING,
    Known,
    present_fields,
    remember,
    tell_unkeyed,
)
from flask_larder.flask.view import ViewAnswer
from flask_larder.flask.view_run import ViewRun
from flask_larder.headers import Fields, parse_vary
from flask_larder.learned import LOOKED_UP
from flask_larder.policy import GET_AND_HEAD, Directives, Reason, is_about_field
from flask_larder.requested import NO_DIRECTIVES, directives_of, wants_only_stored
from flask_larder.status import CacheStatus

_DIRECTIVES: Final = "CACHE_REQUEST_DIRECTIVES"

# What may be stored, and was lost on the way there.
_NOT_KEPT_AFTER_ALL: Final = frozenset({"purged", "store-refused", "store-unavailable"})

# What tells nobody's name: Flask-Login reads the last two to protect sessions.
_NAMES_NOBODY: Final = frozenset(
    {
        "authorization",
        "cookie",
        SESSION,
        "user-agent",
        "x-forwarded-for",
    }
)


class _Answering(Struct, eq=False):
    """The first *call* of a view in a request, and whether it *is under way*."""

    call: Call
    is_under_way: bool = False


_ANSWERING: Final = "_flask_larder_answering"


def answer_view(call: Call, context: RequestContext, *, is_outermost: bool) -> Any:
    """The stored response where there is one, else what the view answers.

    It *is outermost* where no decorator stands around the cache.

    Where its key is the URL, it has one answer for a request: if it calls itself meanwhile, it
    runs, and if it is called again with other arguments, the cache is not asked.
    """
    answering = vars(context).setdefault(_ANSWERING, {})
    first = answering.setdefault(call.decorated, _Answering(call))
    is_by_url = call.options.is_template
    if first.is_under_way:
        tell_in_fields(context)
        return call.run() if is_by_url else _Visit(call, context, is_nested=True).answer()
    is_other = is_by_url and first.call is not call and not call.has_arguments_of(first.call)
    began = perf_counter()
    if not is_other and (known := find_known(call, context)) is not None:
        return answer_known(call, context, known, began=began, is_outermost=is_outermost)
    tell_in_fields(context)
    first.is_under_way = True
    try:
        visit = _Visit(call, context, is_outermost=is_outermost)
        return visit.answer("other-arguments" if is_other else None)
    finally:
        first.is_under_way = False


class _Visit:
    """One request's way through the cache to a view, or not as far as that."""

    def __init__(
        self,
        call: Call,
        context: RequestContext,
        *,
        is_outermost: bool = False,
        is_nested: bool = False,
    ) -> None:
        self._call = call
        self._context = context
        self._settings = call.wiring.settings
        self._watch: Watch | None = None
        self._harmless: frozenset[str] = frozenset()
        self._known = NOTHING
        self._of_key: frozenset[str] = frozenset()
        self._made: ViewAnswer | None = None
        self._expected_once: Targets | None = None
        self._tags: Tags = {}
        self._around: list[AbstractContextManager[None]] = []
        self._outcome = new_outcome(call, CacheStatus("bypass"))
        self._is_outermost = is_outermost
        self._is_nested = is_nested
        self._view = ViewRun(
            call, context, self._outcome, self._tags, is_outermost=self._is_outermost
        )

    def answer(self, refused: Reason | None = None) -> Any:
        """What Flask is to get. The outcome is recorded, also where the view raises.

        The cache is not asked where it is *refused* for a reason.
        """
        outcome, started = self._outcome, perf_counter()
        try:
            refused = refused or self._reason_not_to_ask()
            if not refused and self._context.request.method not in GET_AND_HEAD:
                outcome.status = CacheStatus("method")
                return self._view.run()
            revalidation = revalidation_of(self._context.request.environ, self._call.decorated)
            ask = refused or self._ask()
            if revalidation is not None:
                return self._replace(ask, revalidation)
            if isinstance(ask, Ask):
                return self._answer(ask)
            outcome.status = CacheStatus("bypass", detail=ask)
            return self._view.run()
        finally:
            # It knows of this visit: both would be kept until garbage is collected.
            self._made = None
            outcome.cache_ms = (perf_counter() - started) * 1000 - (outcome.view_ms or 0.0)
            outcome.record(self._context.request)  # which the view may have replaced

    def _answer(self, ask: Ask) -> Any:
        outcome, watch = self._outcome, self._watch or Watch(self._context)
        outcome.whole = True
        selecting = frozenset[str]()  # without those of the option, which the key has already
        try:
            has_conditions = is_conditional(self._context.request)
            if ask.is_stale is not None or has_conditions:
                self._surround(has_conditions=has_conditions)  # else nobody looks, but for the view
            forward = self._forwarding(ask, watch)
            answer, outcome.status = self._call.wiring.engine.answer(ask, forward)
            if isinstance(answer, Hit):
                self._give_stored_tags(answer)
            else:
                selecting = watch.selecting()
                outcome.vary |= selecting
        except BaseException:
            self._drop_made()
            raise
        finally:
            self._restore()
        outcome.tags = tuple(self._tags)
        self._send_signal(ask.key, answer)
        note_selecting(outcome.vary)
        if isinstance(answer, Hit):
            note_hit(self._call, self._context, outcome, answer, is_outermost=self._is_outermost)
            if answer.status.is_hit and not answer.is_validated and (answer.status.ttl or 0) > 0:
                self._learn(ask, answer.names)
            if answer.is_due:
                revalidate_later(self._call, self._context.request.environ, ask, answer)
        else:
            self._tell_unkeyed(answer, watch)
            self._tell_not_stored()
            if outcome.status.stored:
                teach(self._call, self._context, ask, parse_vary(answer.fields) | selecting)
        outcome.vary |= self._of_key
        return self._returned(answer)

    def _give_stored_tags(self, hit: Hit) -> None:
        """Give the tags of what is sent to all that is made of it."""
        if tags := hit.response.targets.tags:
            give_tags(tags)
            self._tags.update(dict.fromkeys(tags))

    def _learn(self, ask: Ask, names: frozenset[str]) -> None:
        """Have the next such hit be found at less cost: before Flask, or else inside it."""
        call, context = self._call, self._context
        if not teach(call, context, ask, names):
            know(call, context, ask, names)

    def _replace(self, ask: Ask | Reason, revalidation: Revalidation) -> Any:
        """Make anew what is stored. What is returned is for the decorators around it alone."""
        revalidation.failure = None
        if not isinstance(ask, Ask):
            revalidation.failure = f"without its user, it is not cached ({ask})"
            return self._context.app.response_class()
        if ask.key != revalidation.key:
            revalidation.failure = "without its user, it has another key, as by vary="
            return self._context.app.response_class()
        at = revalidation.stored_at
        ask = replace(ask, refresh=False, replaces=at, directives=NO_DIRECTIVES)
        watch = Watch(self._context)
        try:
            self._surround(has_conditions=is_conditional(self._context.request))
            forward = self._forwarding(ask, watch)
            made = self._call.wiring.engine.revalidate(ask, forward, revalidation.claim)
        except BaseException:
            self._drop_made()
            raise
        finally:
            self._restore()
        if isinstance(made, str):
            if made == OTHER_KEY:
                revalidation.failure = "without its user, its Vary selects something else"
            return self._context.app.response_class()
        self._outcome.status = made[1]
        if isinstance(made[0], ViewAnswer):
            self._tell_unkeyed(made[0], watch)
        if isinstance(made[0], ViewAnswer) and is_error(made[0]):
            self._call.tell_failure(made[0].failure)
        return self._returned(made[0])

    def _surround(self, *, has_conditions: bool) -> None:
        """Collect tags, and set the client's conditions aside, if that is not done already.

        Until :meth:`_restore`, and so also while a body that streams is read.
        """
        if not self._around:
            self._enter(Tagging(self._tags))
            if has_conditions:
                self._enter(on_condition(self._context.request, ()))

    def _enter(self, around: AbstractContextManager[None]) -> None:
        around.__enter__()
        self._around.append(around)

    def _restore(self) -> None:
        """End what :meth:`_surround` has begun, if it has."""
        while self._around:
            self._around.pop().__exit__(None, None, None)

    def _forwarding(self, ask: Ask, watch: Watch) -> Callable[[CacheStatus, Fields], ViewAnswer]:
        def forward(status: CacheStatus, conditions: Fields) -> ViewAnswer:
            if ask.directives and wants_only_stored(ask.directives):
                self._outcome.status = replace(status, detail="only-if-cached")
                self._outcome.send = False  # nothing is forwarded (RFC 9211 section 2)
                raise GatewayTimeout("Nothing that is stored will do.")
            self._outcome.status = replace(status, detail="error")  # holds where the view raises
            # Only where something stale is there does it matter which exceptions are errors.
            asks_handler = status.fwd == "stale"
            self._drop_made()
            self._surround(has_conditions=False)
            with on_condition(self._context.request, conditions):
                answer = self._view.answer
                self._made = answer(ask, watch, self._harmless, asks_handler=asks_handler)
            return self._made

        return forward

    def _drop_made(self) -> None:
        """Close what the view has made, if anything: nobody gets it."""
        made, self._made = self._made, None
        if made is not None:
            with suppress(Exception):  # what has failed before is what is told
                made.close()

    def _returned(self, answer: Hit | ViewAnswer) -> Any:
        """What Flask gets. Raises what the view has raised."""
        if isinstance(answer, Hit):
            if not answer.is_validated:
                self._tell_failure(answer)
            self._drop_made()
            return self._of_hit(answer.response)
        if answer.raised is not None:
            raise answer.raised
        self._outcome.made, self._outcome.is_own = answer.made, answer.is_own
        return answer.returned

    def _tell_unkeyed(self, made: ViewAnswer, watch: Watch) -> None:
        """Tell what was read that the key does not hold, where the answer is for others, too.

        Or where it is not only since such a field was read.
        """
        if not watch.is_naming:
            return
        remember(self._call, reads := watch.named())
        status = self._outcome.status
        is_lost = status.fwd != "bypass" and status.detail in _NOT_KEPT_AFTER_ALL
        if status.stored or is_lost or is_about_field(status.detail):
            fields = parse_vary(made.fields)
            tell_unkeyed(self._call, self._known, reads, fields, is_view=True)

    def _tell_not_stored(self) -> None:
        """Log it, once, where an option was to tell who asks, and does not tell enough of that."""
        options, detail = self._call.options, self._outcome.status.detail or ""
        is_by_unless = options.unless is not None and is_anonymous(self._context)
        if detail.startswith("read-") and (options.asks_for_key or is_by_unless):
            remedy = "let the function of vary= read it" if options.vary_by else "give vary="
            what = detail.removeprefix("read-")
            # Once, whatever it is: where all fields are read, clients say which there are.
            if self._call.wiring.is_first(
                f"{self._call.name} lacks a reading in its key; {remedy}"
            ):
                self._call.warn(f"{what} was read, which its key does not hold; {remedy}")

    def _tell_failure(self, hit: Hit) -> None:
        """Tell of what *hit* is sent in place of, if it is."""
        if hit.error is not None:
            tell_error(hit.error)
        elif self._made is not None:
            self._call.tell_failure(self._made.failure)

    def _of_hit(self, stored: StoredResponse) -> Any:
        """What the view returned, where a decorator waits for that; else the response.

        A view that calls itself would not know what to do with that: it runs where nothing is kept.
        """
        app, outcome = self._context.app, self._outcome
        given = given_of(app, outcome, stored, is_outermost=self._is_outermost)
        if self._is_nested and outcome.made is not None:
            outcome.made = None
            return self._view.run()
        return given

    def _reason_not_to_ask(self) -> Reason | None:
        if not is_watched(self._context):
            track_requests(self._context.app)  # its class was replaced after init_app
            return "untracked"
        if not self._call.wiring.enabled:
            return "null-cache"
        if host_is_refused(self._context.app, self._context.request):
            return "untrusted-host"
        rule = self._context.request.url_rule
        if rule is not None and rule.websocket:  # a page may have the same URL
            return "websocket"
        return None

    def _ask(self) -> Ask | Reason:
        """What to ask the engine, or the reason why it is not asked."""
        call, context = self._call, self._context
        environ = context.request.environ
        try:
            watch = Watch(context)
            refresh, by_unless = False, frozenset[Read]()
            if not call.options.asks_before_view:
                self._watch = watch  # all that it will see is the view's
            else:
                if call.bypasses():
                    return "unless"
                by_unless = watch.named()
                self._harmless = self._harmless_reads(watch)
                refresh = call.is_forced()
            request = core_request(context.request)
            # Where no function makes the key, nobody wants to know what it has read.
            making_key = Watch(context) if call.options.asks_for_key else watch
            asked = call.asked(request, is_view=True)
            covered = covered_by(call.options, making_key)
            if call.options.asks_for_key:
                self._of_key = fields_of_key(call.options, making_key, environ)
            if watch.is_naming:
                by_unless = present_fields(by_unless, environ, _NAMES_NOBODY)
                self._known = Known(watch.named_before(), making_key.named(), by_unless)
        except OptionFailed:
            return "option-failed"
        return Ask(
            request=request,
            policy=call.policy(covered),
            key=asked.key,
            hash_method=call.options.hash_method or self._settings["CACHE_HASH_METHOD"],
            url=asked.targets,
            position=position_of(context, call.cache),
            refresh=refresh,
            is_stale=self._finds_stale if call.options.is_stale else None,
            directives=self._directives(request),
            looked_up=environ.pop(LOOKED_UP, None),
            expected=partial(self._expected, asked.targets),
        )

    def _expected(self, asked: Targets, asks: bool) -> Targets:
        """By what purges is hit what is made, as far as that is known by now; see ``Ask``."""
        if asks and not self._tags:  # else the view has begun, and they are given
            self._expected_once = self._expected_once or self._call.expected((), asked, asks=True)
            return self._expected_once
        return self._call.expected(tuple(self._tags), asked, asks=False)

    def _directives(self, request: Request) -> Directives:
        """What the client asks of a cache, where that counts."""
        counts = self._call.options.by_response or self._settings[_DIRECTIVES]
        return directives_of(request) if counts else NO_DIRECTIVES

    def _harmless_reads(self, watch: Watch) -> frozenset[str]:
        """What ``unless`` has read without finding anybody.

        So ``unless=lambda: current_user.is_authenticated`` does what it is meant to: answers made
        for nobody are shared. Where the request carries a credential, or the user may have come
        from somewhere else, it may have loaded a user whom the view then finds in flask.g.
        """
        if self._call.options.unless is None:
            return frozenset()
        found_nobody = is_anonymous(self._context) and watch.names() <= _NAMES_NOBODY
        return watch.unkeyed() - watch.unkeyed_before() if found_nobody else frozenset()

    def _finds_stale(self, stored: StoredResponse) -> bool:
        return self._call.finds_stale(response_of(self._context.app, stored))

    def _send_signal(self, key: str, answer: Hit | ViewAnswer) -> None:
        if self._settings["CACHE_ENABLE_SIGNALS"]:
            call = self._call
            signal = cache_view_hit if isinstance(answer, Hit) else cache_view_miss
            signal.send(call.cache, cache_key=key, args=call.args, kwargs=call.kwargs)
