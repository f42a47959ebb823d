"""What ``docker-compose-dev.yml`` promises."""

import socket
import time
from pathlib import Path

from deploy.verification.client import answers, get
from deploy.verification.compose import Project
from deploy.verification.report import Report, expect, wait_for


def check(report: Report, project: Project, checkout: Path, port: int, redis_port: int) -> None:
    """Start it, edit a file, open its Redis."""
    with report.check("development: build and start") as row:
        project.up("--build")
        answer = get(port, "/square/4")
        expect('"computed":16' in answer.body.replace(" ", ""), f"{answer.status} {answer.body}")
        row.saw(f"{answer.status} from the development server")
    with report.check("development: an edit is served") as row:
        view = checkout / "service" / "square.py"
        source = view.read_text()
        began = time.monotonic()
        view.write_text(source.replace('"computed"', '"edited"'))
        expect(view.read_text() != source, "service/square.py has no 'computed'")

        def is_served() -> bool:
            return answers(port)() and '"edited"' in get(port, "/square/4").body

        wait_for("the edited view is served", is_served)
        row.saw(f"served {time.monotonic() - began:.1f} s after the edit, on the same URL")
    with report.check("development: a GUI can open Redis") as row:
        with socket.create_connection(("127.0.0.1", redis_port), timeout=5) as connection:
            connection.sendall(b"SCAN 0 MATCH *square* COUNT 1000\r\n")
            reply = connection.recv(4096).decode()
        expect("larder1" in reply, f"Redis said {reply!r}")
        row.saw(next(line for line in reply.split() if "larder1" in line))
