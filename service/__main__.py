"""The service: ``python -m service``."""

import os
import signal
import sys

# Before the other imports: they take a moment, and who started this process could be gone by then.
PARENT = os.getppid()
# Until the server takes it over. Process 1 of a container ignores what it has no handler for.
signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))

from service.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PARENT))
