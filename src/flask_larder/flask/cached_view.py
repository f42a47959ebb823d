"""A cached view: what it answers is kept as a response."""

from time import perf_counter
from typing import Any

from flask import Response, after_this_request, current_app, has_request_context
from flask.ctx import RequestContext
from flask.globals import request_ctx
from werkzeug.datastructures import Headers
from werkzeug.exceptions import HTTPException

from flask_larder.engine import Ask, Hit
from flask_larder.entry import StoredResponse
from flask_larder.flask.asking import core_request, host_is_refused
from flask_larder.flask.call import Call
from flask_larder.flask.outcome import Outcome, write_fields
from flask_larder.flask.reads import (
    TrackedRequest,
    Watch,
    covered_credentials,
    credentials_read,
    is_anonymous,
    note_selecting,
    track_requests,
)
from flask_larder.flask.signals import cache_view_hit, cache_view_miss
from flask_larder.flask.view import ViewAnswer
from flask_larder.policy import Policy, Reason
from flask_larder.status import CacheStatus


def answer_view(call: Call) -> Any:
    """The stored response where there is one, else what the view answers."""
    if not has_request_context():
        return call.run()
    context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    if write_fields not in context._after_request_functions:  # noqa: SLF001 - no public name
        after_this_request(write_fields)
    return _Visit(call, context).answer()


class _Visit:
    """One request's way through the cache to a view, or not as far as that."""

    def __init__(self, call: Call, context: RequestContext) -> None:
        self._call = call
        self._context = context
        self._settings = call.wiring.settings
        self._harmless: frozenset[str] = frozenset()
        self._outcome = Outcome(
            CacheStatus("bypass"),
            send=self._settings["CACHE_SEND_STATUS"],
            vary=frozenset(call.options.vary_fields),
            hit_indication=call.options.response_hit_indication,
        )

    def answer(self) -> Any:
        """What Flask is to get. The outcome is recorded, also where the view raises."""
        outcome, started = self._outcome, perf_counter()
        try:
            ask = self._ask()
            if isinstance(ask, Ask):
                return self._answer(ask)
            outcome.status = CacheStatus("bypass", detail=ask)
            return self._run()
        finally:
            outcome.cache_ms = (perf_counter() - started) * 1000 - (outcome.view_ms or 0.0)
            outcome.record()

    def _answer(self, ask: Ask) -> Any:
        outcome = self._outcome
        with Watch(self._context, write_fields, self._harmless) as watch:

            def forward(status: CacheStatus) -> ViewAnswer:
                outcome.status = status  # holds where the view raises
                return self._run_view(ask.policy, watch)

            answer, outcome.status = self._call.wiring.engine.answer(ask, forward)
            if not isinstance(answer, Hit):
                outcome.vary |= watch.reads().selecting
        self._send_signal(ask.key, answer)
        note_selecting(outcome.vary)
        if isinstance(answer, Hit):
            note_selecting(answer.names)
            outcome.age = answer.age
            return _response_of(answer.response)
        if answer.raised is not None:
            raise answer.raised
        return answer.value

    # --- before the engine is asked ---

    def _ask(self) -> Ask | Reason:
        """What to ask the engine, or the reason why it is not asked at all."""
        call = self._call
        if reason := self._reason_not_to_ask():
            return reason
        known = credentials_read(self._context)
        if call.bypasses():
            return "unless"
        refresh = call.is_forced()
        if is_anonymous(self._context):
            # Not so for a request that carries a credential: there `unless` may have loaded a
            # user, whom the view then finds in flask.g.
            self._harmless = credentials_read(self._context) - known
        request = core_request(self._context.request)
        key = call.key(request)
        if key is None:
            return "key-error"
        return Ask(
            request=request,
            policy=Policy(
                timeout=call.timeout,
                statuses=call.options.statuses,
                covered=covered_credentials(call.options, self._context),
                body_limit=self._settings["CACHE_MAX_BODY_BYTES"],
            ),
            key=key,
            hash_method=call.options.hash_method or self._settings["CACHE_HASH_METHOD"],
            refresh=refresh,
            is_stale=self._finds_stale if call.options.is_stale else None,
        )

    def _reason_not_to_ask(self) -> Reason | None:
        if not isinstance(self._context.request, TrackedRequest):
            track_requests(current_app)  # its class was replaced after init_app
            return "untracked"
        if not self._call.wiring.enabled:
            return "null-cache"
        return "untrusted-host" if host_is_refused(self._context.request) else None

    def _finds_stale(self, stored: StoredResponse) -> bool:
        return self._call.finds_stale(_response_of(stored))

    # --- the view ---

    def _run_view(self, policy: Policy, watch: Watch) -> ViewAnswer:
        value: Any = None
        raised: HTTPException | None = None
        try:
            value = self._run()
        except HTTPException as error:
            raised = error
        if raised is not None and raised.get_response().status_code in policy.statuses:
            # Asked for: what the app's error handler makes of it is the response to store.
            value, raised = current_app.handle_user_exception(raised), None
        refused = self._call.filters_out(raised.get_response() if raised else value)
        return ViewAnswer(watch, value, raised, refused=refused)

    def _run(self) -> Any:
        started = perf_counter()
        try:
            return self._call.run()
        finally:
            self._outcome.view_ms = (perf_counter() - started) * 1000

    def _send_signal(self, key: str, answer: Hit | ViewAnswer) -> None:
        if self._settings["CACHE_ENABLE_SIGNALS"]:
            call = self._call
            signal = cache_view_hit if isinstance(answer, Hit) else cache_view_miss
            signal.send(call.cache, cache_key=key, args=call.args, kwargs=call.kwargs)


def _response_of(stored: StoredResponse) -> Response:
    response = current_app.response_class(stored.body, status=stored.status)
    response.headers = Headers(stored.fields)
    return response
