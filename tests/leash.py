"""What lets nothing outlive the tests, also when they are killed."""

# Runs between the test process and the server: has the system kill the server when the thread
# that started it ends, also by SIGKILL (Linux has this, others do not), and becomes the server.
LEASH = """
import ctypes, os, signal, sys
if sys.platform == "linux":
    PR_SET_PDEATHSIG = 1
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != int(sys.argv[1]):
        sys.exit("the tests ended before their server started")
os.execv(sys.argv[2], sys.argv[2:])
"""
