"""Requests that have the same ``flask.g``, where one may find the user whom another has loaded.

A request that is made while a context of its app is there gets no application context of its own:
inside another request, as by ``app.test_client()`` in a view, or in a command of the app's.
"""

from collections.abc import Callable
from typing import Final

from flask.ctx import RequestContext

from flask_larder.flask.current import app_context

_NAME: Final = "_flask_larder_requests"


def shares_with_who_told(
    context: RequestContext, has_told: Callable[[RequestContext], bool]
) -> bool:
    """Whether one *has told* who asks of all requests that had the ``flask.g`` of *context* before.

    It is asked for those that are under way, and for the latest, which has heard of those before.
    """
    application = app_context()
    if application is None:
        return False
    before: list[RequestContext] | None = vars(application).get(_NAME)
    if before is None:  # as for nearly all
        vars(application)[_NAME] = [context]
        return False
    is_told = any(map(has_told, before))
    before[:] = [each for each in before if each._cv_tokens]  # noqa: SLF001 - it is pushed
    before.append(context)
    return is_told
