"""One line per event on standard error, whoever writes it and whatever it contains."""

import datetime
import logging
import logging.config
from collections.abc import Iterable
from typing import Any

# The control characters of ASCII and Latin-1 and Unicode's own line ends: none of them may start
# a line of its own in the log, or move the cursor of the terminal that shows it.
_ESCAPES = {code: f"\\x{code:02x}" for code in (*range(0x20), *range(0x7F, 0xA0))}
_ESCAPES |= {0x2028: "\\u2028", 0x2029: "\\u2029"}


def escape(text: str) -> str:
    """Return text with its control characters written as escapes."""
    return text.translate(_ESCAPES)


class LineFormatter(logging.Formatter):
    """Formats a record as one line; the lines of a traceback follow it, indented."""

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: ARG002, N802
        """Return the record's time in UTC, as RFC 3339 writes it."""
        moment = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        return moment.isoformat(timespec="milliseconds")

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """Return the first line."""
        return escape(super().formatMessage(record))

    def formatException(self, ei: Any) -> str:  # noqa: N802
        """Return the traceback, each line recognisable as a continuation."""
        return _indented(super().formatException(ei).split("\n"))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """Return the stack, each line recognisable as a continuation."""
        return _indented(stack_info.split("\n"))


def _indented(lines: Iterable[str]) -> str:
    return "\n".join(f"    {escape(line)}" for line in lines)


class _WantedFilter(logging.Filter):
    """Leaves out what is no news.

    granian warns of more blocking threads than processors. Ours wait for Redis and for another
    HTTP API, not for the processor, so that there are many is intended.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Tell whether the record is wanted."""
        return "spawning up to" not in str(record.msg)


def config() -> dict[str, Any]:
    """Return the logging configuration, the same for the application and for both servers.

    It can be pickled: where granian's workers are not forked, it is handed to them.
    """
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "line": {
                "()": LineFormatter,
                "fmt": "%(asctime)s %(levelname)s [%(process)d] %(name)s: %(message)s",
            }
        },
        "filters": {"wanted": {"()": _WantedFilter}},
        "handlers": {
            "stderr": {
                "class": "logging.StreamHandler",
                "formatter": "line",
                "filters": ["wanted"],
            }
        },
        "root": {"handlers": ["stderr"], "level": "INFO"},
        "loggers": {
            "_granian": {"handlers": [], "propagate": True, "level": "INFO"},
            "granian.access": {"handlers": [], "level": "WARNING"},
            "gunicorn.error": {"handlers": [], "propagate": True, "level": "INFO"},
            # The service has an access log of its own, which knows the outcome of the cache.
            "gunicorn.access": {"handlers": [], "level": "WARNING"},
        },
    }


def configure() -> None:
    """Send every log record of this process to standard error, one line each."""
    logging.config.dictConfig(config())
