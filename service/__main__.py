"""The service: ``python -m service``."""

import os
import sys

# Before the other imports: they take a moment, and who started this process could be gone by then.
PARENT = os.getppid()

from service.launcher import main  # noqa: E402

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:], PARENT))
