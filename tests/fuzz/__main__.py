"""Feeds the targets to atheris, one by one: ``python -m tests.fuzz [--seconds 60] [name ...]``.

Each runs in a process of its own, for a given time. What one fails on is kept in a file.
"""

import argparse
import importlib.util
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.fuzz.targets import BEGINNINGS, TARGETS, WORDS

LONGEST_INPUT = 4096
SECONDS_FOR_ONE = 5
MEGABYTES = 2048


def main() -> int:
    """Returns 1 if a target failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz")
    parser.add_argument("--seconds", type=int, default=60, help="for each target")
    parser.add_argument("names", nargs="*", metavar="name", help=f"of {', '.join(TARGETS)}")
    options = parser.parse_args()
    if importlib.util.find_spec("atheris") is None:
        print("SKIPPED: atheris has no wheel for this Python or machine; nothing was fuzzed")
        return 0
    failed = [name for name in options.names or TARGETS if not is_sound(name, options.seconds)]
    print(f"failed: {', '.join(failed)}" if failed else "nothing failed")
    return 1 if failed else 0


def is_sound(name: str, seconds: int) -> bool:
    """Whether atheris found nothing wrong with a target in this time; says what it did."""
    directory = Path(tempfile.mkdtemp(prefix="larder-fuzz-"))
    write_dictionary(directory / "words")
    write_corpus(directory / "corpus", name)
    command = [
        *(sys.executable, "-m", "tests.fuzz.atheris_run", name, str(directory / "corpus")),
        *(f"-max_total_time={seconds}", f"-timeout={SECONDS_FOR_ONE}", "-print_final_stats=1"),
        *(f"-max_len={LONGEST_INPUT}", f"-rss_limit_mb={MEGABYTES}", f"-dict={directory}/words"),
        f"-artifact_prefix={directory}/",
    ]
    try:
        ended = subprocess.run(
            command,
            check=False,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=2 * seconds + 60,
        )
    except subprocess.TimeoutExpired:
        print(f"{name}: did not end")
        return False
    executed = re.search(r"number_of_executed_units: *(\d+)", ended.stderr)
    print(f"{name}: {executed[1] if executed else 'no'} executions", flush=True)
    if ended.returncode == 0 and executed:
        shutil.rmtree(directory)
        return True
    print("\n".join((ended.stdout + ended.stderr).splitlines()[-40:]))
    print(f"what it failed on: {directory}")
    return False


def write_dictionary(path: Path) -> None:
    """In the format of libFuzzer."""
    escaped = ["".join(f"\\x{byte:02x}" for byte in word) for word in WORDS]
    path.write_text("".join(f'"{word}"\n' for word in escaped))


def write_corpus(path: Path, name: str) -> None:
    path.mkdir()
    for number, word in enumerate((BEGINNINGS.get(name, b""), *WORDS)):
        (path / f"{number:02}").write_bytes(word)


if __name__ == "__main__":
    sys.exit(main())
