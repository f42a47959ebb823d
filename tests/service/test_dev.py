"""``make dev``: an edit is served."""

import itertools
import os
import shutil
import signal
from pathlib import Path

import pytest

from service.config import ROOT
from tests.service.processes import Sandbox, Service, start_service, wait_until


@pytest.fixture
def service(sandbox: Sandbox) -> Service:
    """The development server on a copy of the service that may be edited."""
    copy = sandbox.directory / "service"
    shutil.copytree(ROOT / "service", copy, ignore=shutil.ignore_patterns("__pycache__"))
    sandbox.environ |= {"PYTHONPATH": "", "PYTHONDONTWRITEBYTECODE": "1"}
    return start_service(sandbox, "service.dev")


def edit(service: Service, old: str, new: str) -> None:
    """Edit the square's view, as an editor does."""
    path = service.sandbox.directory / "service" / "square.py"
    path.write_text(path.read_text().replace(old, new))
    later = path.stat().st_mtime + 2  # the clock of the file system may be coarse
    os.utime(path, (later, later))


def served(service: Service) -> str:
    """Return how an answer that is not cached begins; nothing while the server starts again."""
    try:
        return service.get(f"/square/{next(_numbers)}").text.partition(":")[0]
    except OSError:
        return ""


_numbers = itertools.count(1)


def test_edit_is_served(service: Service) -> None:
    """Also one of a view whose answer is stored, and after one that does not even compile."""
    assert service.get("/square/0").json() == {"computed": 0}
    edit(service, '"computed"', '"edited"')
    wait_until(lambda: served(service) == '{"edited"')
    edit(service, "import logging\n", "import logging (\n")
    wait_until(lambda: served(service).startswith("The service does not load."))
    edit(service, "import logging (\n", "import logging\n")
    wait_until(lambda: served(service) == '{"edited"')
    assert service.get("/square/0").json() == {"edited": 0}


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_ends(service: Service, number: signal.Signals) -> None:
    """Nothing is left."""
    service.signal(number, group=number == signal.SIGINT)
    wait_until(service.sandbox.is_empty, 5)
    assert "Traceback" not in service.sandbox.log.read_text()
    assert not Path(f"{ROOT}/.run/{service.sandbox.port}.url").exists()
