"""Flask's current context, taken once.

``request`` and ``current_app`` look for it at each attribute, which takes longer than most of what
the cache does with that.
"""

from flask.ctx import RequestContext
from flask.globals import request_ctx


def request_context() -> RequestContext | None:
    """The context of the current request, or ``None`` outside of requests."""
    try:
        context: RequestContext = request_ctx._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    except RuntimeError:
        return None
    return context
