"""What the measurements were made on, and with."""

import os
import platform
import re
import subprocess
from collections.abc import Mapping
from importlib import metadata
from pathlib import Path

from benchmarks.servers import find_tool

PACKAGES = (
    *("Flask-Larder", "Flask-Caching", "Flask", "Werkzeug", "Flask-Login", "Flask-Cors"),
    *("granian", "gunicorn", "gevent", "redis", "hiredis"),
)
VERSION_OPTIONS = {"wrk": "-v", "h2load": "--version", "nginx": "-v", "varnishd": "-V"}
_VERSION = re.compile(r"\d+\.\d+[\w.]*")


def describe() -> Mapping[str, str]:
    """The machine, by name of what is told."""
    return {
        "processor": _processor(),
        "cores": str(_cores()),
        "kernel": f"{platform.system()} {platform.release()}",
        "Python": platform.python_version(),
    }


def versions() -> Mapping[str, str]:
    """The versions of all that takes part and is here."""
    found = {name: _package(name) for name in PACKAGES}
    options = {**VERSION_OPTIONS, "redis-server": "--version"}
    found |= {name: _tool(name, option) for name, option in options.items()}
    return {name: version for name, version in found.items() if version}


def commit() -> str:
    """The commit that is measured, and whether files differ from it; empty outside of a clone."""
    command = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty"]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return ""


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _processor() -> str:
    info = Path("/proc/cpuinfo")
    if info.exists() and (
        found := re.search(r"^model name\s*: (.*)$", info.read_text(), re.MULTILINE)
    ):
        return found[1]
    return platform.processor() or platform.machine()


def _package(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _tool(name: str, option: str) -> str | None:
    path = find_tool(name)
    if path is None:
        return None
    done = subprocess.run([path, option], capture_output=True, text=True, check=False)
    found = _VERSION.search(done.stdout + done.stderr)
    return found[0] if found else None
