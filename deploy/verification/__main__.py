"""Runs the checks one after the other: ``python3 -m deploy.verification``."""

import os
import re
import shutil
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

from deploy.verification import development, production
from deploy.verification.compose import Project
from deploy.verification.report import Report, expect

ROOT = Path(__file__).resolve().parents[2]
FILES = ("docker-compose.yml", "docker-compose-dev.yml")
OURS = re.compile(r"^      ([A-Z_]+):|\$\{([A-Z_]+)", re.MULTILINE)
LEFT_OUT = shutil.ignore_patterns(".*", "__pycache__", "tests", "*.egg-info")


def main(arguments: list[str]) -> int:
    """Check everything, print the table, return the exit code."""
    if set(arguments) - {"--keep"}:
        print("deploy/verify takes --keep, and nothing else", file=sys.stderr)
        return 2
    if not shutil.which("docker"):
        print("deploy/verify needs docker, with an engine that runs", file=sys.stderr)
        return 2
    forget_settings()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    signal.signal(signal.SIGHUP, lambda *_: sys.exit(129))
    began = time.monotonic()
    report = Report()
    keep = "--keep" in arguments
    # A copy, since a file is edited, and so that nobody's .env plays a part.
    checkout = Path(tempfile.mkdtemp(prefix="larder-verify-")) / "checkout"
    try:
        shutil.copytree(ROOT, checkout, ignore=LEFT_OUT)
        shutil.copy(ROOT / ".dockerignore", checkout)
        run(report, checkout, keep=keep)
    finally:
        if not keep:
            shutil.rmtree(checkout.parent, ignore_errors=True)
    holds = "all hold" if report.holds else "NOT ALL HOLD"
    print(f"\n{report.table()}\n\n{time.monotonic() - began:.0f} s, {holds}")
    return 0 if report.holds else 1


def forget_settings() -> None:
    """Let no variable that the compose files read, or compose itself, come from outside."""
    read = {n for file in FILES for names in OURS.findall((ROOT / file).read_text()) for n in names}
    for name in list(os.environ):
        if name in read or name.startswith(("COMPOSE_", "CACHE_")):
            del os.environ[name]


def run(report: Report, checkout: Path, *, keep: bool) -> None:
    """Check production, then development; remove what was started."""
    name = f"larder-verify-{os.getpid()}"
    port, app_port, development_port, redis_port = free_ports(4)
    projects = [
        Project(
            name,
            checkout,
            ["docker-compose.yml", "deploy/verification/compose.yml"],
            {"PORT": str(port), "APP_PORT": str(app_port), "SERVER": "granian"},
        ),
        Project(
            f"{name}-dev",
            checkout,
            ["docker-compose-dev.yml"],
            {"PORT": str(development_port), "REDIS_PORT": str(redis_port)},
        ),
    ]
    try:
        production.check(report, projects[0], port, app_port)
        development.check(report, projects[1], checkout, development_port, redis_port)
    finally:
        if keep:
            for project in projects:
                print(f"kept: docker compose -p {project.name} ps (or down -v --rmi local)")
        else:
            tear_down(report, projects)


def tear_down(report: Report, projects: list[Project]) -> None:
    """Remove the projects and see that nothing is left."""
    with report.check("tear down") as row:
        for project in projects:
            project.down()
        left = [thing for project in projects for thing in project.left()]
        expect(not left, f"left: {', '.join(left)}")
        row.saw("no container, network or volume is left")


def free_ports(count: int) -> list[int]:
    """Return ports of this machine on which nobody listens now."""
    probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    try:
        return [int(probe.getsockname()[1]) for probe in probes]
    finally:
        for probe in probes:
            probe.close()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
