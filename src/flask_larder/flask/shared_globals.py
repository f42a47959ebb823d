"""Requests that have the same ``flask.g``, where one may find the user whom another has loaded.

A request that is made while a context of its app is there gets no application context of its own:
inside another request, as by ``app.test_client()`` in a view, or in a command of the app's.
"""

from collections.abc import Callable
from typing import Final

from flask.ctx import RequestContext

from flask_larder.flask.current import app_context

_NAME: Final = "_flask_larder_sharing"


class _Sharing:
    """The requests of one application context that are under way, and whether one *has told*."""

    __slots__ = ("contexts", "has_told")

    def __init__(self, context: RequestContext) -> None:
        self.contexts = [context]
        self.has_told = False


def shares_with_who_told(
    context: RequestContext, has_told: Callable[[RequestContext], bool]
) -> bool:
    """Whether one *has told* who asks of all requests that had the ``flask.g`` of *context* before.

    It is asked for each of them when the next one begins, and what it then has told stays so.
    """
    application = app_context()
    if application is None:
        return False
    sharing: _Sharing | None = vars(application).get(_NAME)
    if sharing is None:  # as for nearly all
        vars(application)[_NAME] = _Sharing(context)
        return False
    sharing.has_told = sharing.has_told or any(map(has_told, sharing.contexts))
    under_way = [each for each in sharing.contexts if each._cv_tokens]  # noqa: SLF001 - pushed
    sharing.contexts = [*under_way, context]
    return sharing.has_told
