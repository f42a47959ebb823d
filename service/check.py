"""Whether the application can be made, and whether its store answers."""

import logging
import sys

from flask_larder import LarderError, StoreUnavailable
from service import logs
from service.app import create_app
from service.cache import cache
from service.config import ConfigError


def main() -> int:
    """Say what is wrong; return the exit code.

    A store that does not answer is no reason not to start: views then answer uncached.
    """
    logs.configure()
    logging.getLogger().setLevel(logging.ERROR)  # the workers say the rest
    try:
        with create_app().app_context():
            cache.ping()
    except StoreUnavailable as error:
        print(
            f"warning: {logs.escape(str(error))}; until it answers, nothing is cached", flush=True
        )
    except (ConfigError, LarderError) as error:
        print(f"error: {logs.escape(str(error))}", file=sys.stderr)
        return 2
    return 0
