"""The service: ``python -m service``."""

import os
import signal
import sys

# Before the other imports: they take a moment, and who started this process could be gone by then.
PARENT = os.getppid()
# Process 1 of a container ignores a signal without a handler. There is nothing to clean up yet.
signal.signal(signal.SIGTERM, lambda *_: os._exit(0))

from service.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PARENT))
