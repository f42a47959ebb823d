"""One run of a view, and what is seen of it."""

from collections.abc import Callable
from time import perf_counter
from typing import Any

from flask.ctx import RequestContext
from werkzeug.exceptions import HTTPException

from flask_larder.ask import Ask
from flask_larder.entry import Reads
from flask_larder.environ import EnvironFields
from flask_larder.flask.call import Call, OptionFailed
from flask_larder.flask.outcome import Outcome
from flask_larder.flask.reads import (
    Watch,
    credentials_among,
    registered_functions,
)
from flask_larder.flask.tagging import Tags, give_tags
from flask_larder.flask.view import ViewAnswer, is_application
from flask_larder.policy import Policy, Reason


class ViewRun:
    """Runs the view of a *call*, and tells *outcome* how long that took.

    *tags* are those that are given meanwhile. It *is outermost* where what it returns goes to
    Flask, and to no decorator or caller.
    """

    def __init__(
        self,
        call: Call,
        context: RequestContext,
        outcome: Outcome,
        tags: Tags,
        *,
        is_outermost: bool,
    ) -> None:
        self._call = call
        self._context = context
        self._outcome = outcome
        self._tags = tags
        self._is_outermost = is_outermost

    def run(self) -> Any:
        """What the view returns."""
        started = perf_counter()
        try:
            return self._call.run()
        finally:
            self._outcome.view_ms = (perf_counter() - started) * 1000

    def answer(
        self, ask: Ask, watch: Watch, harmless: frozenset[str], *, asks_handler: bool
    ) -> ViewAnswer:
        """What the view answers to *ask*.

        *watch* sees what it reads; what was read before is *harmless* where it told of nobody. With
        *asks_handler*, an error may be replaced by what is stale, so that the app is asked what it
        makes of an exception.
        """
        call, tags = self._call, self._tags
        began, refusal = perf_counter(), self._give_tags()
        reads = self._reads(ask, watch, harmless)
        value, raised = self._value(ask, watch, asks_handler=asks_handler)
        if is_application(value):
            watch.note_all()
        if raised is not None and (
            call.options.by_response or not isinstance(raised, HTTPException)
        ):
            refusal = "error"
        if refusal is None:
            refusal = call.refusal_of(value)
        return ViewAnswer(
            value,
            raised,
            reads,
            began=began,
            targets=lambda: call.targets(tags, ask.url),
            refusal=refusal,
            is_outermost=self._is_outermost,
        )

    def _reads(self, ask: Ask, watch: Watch, harmless: frozenset[str]) -> Callable[[], Reads]:
        """Tells, when it is called, what the view has read until then."""
        functions_before = registered_functions(self._context)

        def reads() -> Reads:
            own, before = watch.unkeyed(), watch.unkeyed_before() - harmless
            all_fields = "headers" in own | before
            if self._call.options.by_response and "headers" not in ask.policy.covered:
                names = EnvironFields(self._context.request.environ).keys()
                own, before = credentials_among(own, names), credentials_among(before, names)
            return Reads(
                unkeyed=own | before,
                before=before - own,
                selecting=watch.selecting(),
                all_fields=all_fields,
                after_this_request=registered_functions(self._context) != functions_before,
                changes_session=watch.changes_session(),
            )

        return reads

    def _value(self, ask: Ask, watch: Watch, *, asks_handler: bool) -> tuple[Any, Exception | None]:
        """What the view returned; or what becomes of what it has raised, and that."""
        environ = self._context.request.environ
        try:
            return self.run(), None
        except HTTPException as error:
            value = error.get_response(watch.noted(environ))
            if self._may_store(ask.policy, value.status_code):
                # Asked for: what the app's error handler makes of it is the response to store.
                handled = self._context.app.handle_user_exception(error)
                # Where no handler took it, Flask would read the body that it may have once more.
                if isinstance(handled, HTTPException):
                    handled = handled.get_response(watch.noted(environ))
                return handled, None
            return value, error
        except Exception as error:
            if not (asks_handler and ask.policy.stale_if_error):
                raise
            # Only what the app makes of it tells whether it is an error or, say, a 404.
            return self._context.app.handle_user_exception(error), error

    def _may_store(self, policy: Policy, status: int) -> bool:
        """Whether what becomes of an ``abort`` may be stored; a decorator gets what was raised."""
        if policy.by_response:
            return self._is_outermost
        return status in policy.statuses

    def _give_tags(self) -> Reason | None:
        """Tag what is made as the option says; if that fails, the reason not to store it."""
        try:
            give_tags(self._call.tags())
        except OptionFailed:
            return "option-failed"
        return None
