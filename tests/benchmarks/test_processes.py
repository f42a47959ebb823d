"""What the benchmarks start ends with them, and what hangs is ended."""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from benchmarks import load
from benchmarks.load import LoadError
from tests.service.processes import wait_until

STARTS_ONE = """\
import sys, time
from pathlib import Path
from benchmarks.processes import Process
server = Process("one", ["sleep", "600"], {}, Path(sys.argv[1]))
print(server.pid, flush=True)
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("tell", "number"),
    [
        (os.kill, signal.SIGKILL),
        *((os.killpg, number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)),
    ],
)
def test_servers_end_with_the_benchmark(
    tmp_path: Path, tell: Callable[[int, int], None], number: signal.Signals
) -> None:
    """Also where all of its processes are told to end, as by ``timeout`` and by a terminal."""
    benchmark = subprocess.Popen(
        [sys.executable, "-c", STARTS_ONE, str(tmp_path / "log")],
        cwd=Path(__file__).parents[2],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    assert benchmark.stdout is not None
    server = int(benchmark.stdout.readline())
    tell(benchmark.pid, number)
    benchmark.communicate()
    wait_until(lambda: not _is_alive(server))


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_what_does_not_end_fails_the_run() -> None:
    """Such as h2load, where the server closes each connection."""
    with pytest.raises(LoadError, match="sleep has not ended after 0 s"):
        load._run(["sleep", "600"], 0.1)
