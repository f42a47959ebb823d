"""What the compose files say, as ``docker compose config`` reads them. It needs no engine."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.service.processes import ROOT

TUTORIAL = """\
CACHE_TYPE=redis
CACHE_REDIS_HOST=redis
CACHE_REDIS_PORT=6379
CACHE_REDIS_DB=0
CACHE_REDIS_URL=redis://redis:6379/0
CACHE_DEFAULT_TIMEOUT=500
"""


def client() -> list[str]:
    """The command of a client that is new enough, nothing if there is none."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            asked = [*command, "version", "--short"]
            done = subprocess.run(asked, capture_output=True, text=True, check=False)
            if tuple(map(int, re.findall(r"\d+", done.stdout)[:2])) >= (2, 24):
                return command
    return []


CLIENT = client()
pytestmark = pytest.mark.skipif(
    not CLIENT, reason="docker compose 2.24 is not installed: make tools"
)


def config(directory: Path, file: str = "docker-compose.yml", **environ: str) -> dict[str, Any]:
    """Read a compose file in a directory that has nothing else but, perhaps, a .env."""
    shutil.copy(ROOT / file, directory)
    done = subprocess.run(
        [*CLIENT, "-f", file, "config", "--format", "json"],
        cwd=directory,
        env={"PATH": os.environ["PATH"], "HOME": str(directory)} | environ,
        capture_output=True,
        text=True,
        check=True,
    )
    assert not done.stderr
    return dict(json.loads(done.stdout))


def published(service: dict[str, Any]) -> set[tuple[str, str, int]]:
    """The host's address and port, and the container's port, of each that is published."""
    return {
        (port["host_ip"], port["published"], port["target"]) for port in service.get("ports", ())
    }


def test_production_needs_no_env_and_is_for_this_machine(tmp_path: Path) -> None:
    """Without any setting, nginx alone is published, on loopback, on both tutorials' ports."""
    services = config(tmp_path)["services"]
    assert published(services["nginx"]) == {
        ("127.0.0.1", "8000", 8000),
        ("127.0.0.1", "5000", 8000),
    }
    assert not published(services["app"])
    assert not published(services["redis"])


def test_ports_and_address_can_be_chosen(tmp_path: Path) -> None:
    """BIND, PORT and APP_PORT say where."""
    services = config(tmp_path, BIND="0.0.0.0", PORT="80", APP_PORT="81")["services"]
    assert published(services["nginx"]) == {("0.0.0.0", "80", 8000), ("0.0.0.0", "81", 8000)}


def test_redis_is_for_the_app_alone(tmp_path: Path) -> None:
    """Its network leads nowhere else, and nginx is not in it."""
    project = config(tmp_path)
    assert project["networks"]["store"]["internal"] is True
    members = {name: set(service["networks"]) for name, service in project["services"].items()}
    assert members == {"nginx": {"web"}, "app": {"web", "store"}, "redis": {"store"}}


def test_every_container_is_guarded(tmp_path: Path) -> None:
    """Nothing may write to its root, has a capability, or is without limits."""
    for service in config(tmp_path)["services"].values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert "privileged" not in service
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert int(service["mem_limit"]) > 0
        assert service["pids_limit"] > 0
        assert service["logging"]["options"]["max-size"]


def test_app_waits_for_redis_and_nginx_for_the_app(tmp_path: Path) -> None:
    """Each starts when the one before is healthy."""
    services = config(tmp_path)["services"]
    assert services["app"]["depends_on"]["redis"]["condition"] == "service_healthy"
    assert services["nginx"]["depends_on"]["app"]["condition"] == "service_healthy"


def test_password_is_the_same_on_both_sides(tmp_path: Path) -> None:
    """REDIS_PASSWORD goes to Redis and to the app, which has no other one by itself."""
    services = config(tmp_path, REDIS_PASSWORD="p$ss:w@rd/")["services"]
    assert services["redis"]["environment"]["REDISCLI_AUTH"] == "p$$ss:w@rd/"
    app = services["app"]["environment"]
    assert app["REDIS_PASSWORD"] == "p$$ss:w@rd/"
    assert not app.get("CACHE_REDIS_PASSWORD")


@pytest.mark.parametrize("name", ["THREADS", "TRUSTED_HOSTS", "CACHE_DEFAULT_TIMEOUT", "WORKERS"])
def test_settings_may_stand_before_the_command(tmp_path: Path, name: str) -> None:
    """As well as in .env, over which they win."""
    (tmp_path / ".env").write_text(f"{name}=7\n")
    assert config(tmp_path)["services"]["app"]["environment"][name] == "7"
    assert config(tmp_path, **{name: "8"})["services"]["app"]["environment"][name] == "8"


@pytest.mark.parametrize("file", ["docker-compose.yml", "docker-compose-dev.yml"])
def test_env_of_the_tutorials_is_read(tmp_path: Path, file: str) -> None:
    """The six variables reach the app, and none of them makes it miss Redis."""
    (tmp_path / ".env").write_text(TUTORIAL)
    app = config(tmp_path, file)["services"]["app"]["environment"]
    for line in TUTORIAL.splitlines():
        name, _, value = line.partition("=")
        assert app[name] == value


def test_env_of_make_run_changes_nothing_inside(tmp_path: Path) -> None:
    """Where `make run` listens is not where the container does, nor whom it trusts."""
    (tmp_path / ".env").write_text(
        "HOST=127.0.0.1\nPORT=9000\nSERVER=gunicorn\nWORKERS=3\nTRUSTED_PROXIES=0.0.0.0/0\n"
    )
    services = config(tmp_path)["services"]
    app = services["app"]["environment"]
    assert (app["HOST"], app["PORT"]) == ("0.0.0.0", "5000")
    assert (app["SERVER"], app["WORKERS"]) == ("gunicorn", "3")
    assert app["TRUSTED_PROXIES"] == "nginx"
    assert ("127.0.0.1", "9000", 8000) in published(services["nginx"])


def test_development_publishes_redis_on_loopback_only(tmp_path: Path) -> None:
    """A GUI on this machine can open it; BIND, which opens the app, does not open Redis."""
    services = config(tmp_path, "docker-compose-dev.yml", BIND="0.0.0.0")["services"]
    assert published(services["redis"]) == {("127.0.0.1", "6379", 6379)}
    assert published(services["app"]) == {("0.0.0.0", "8000", 8000)}


def test_development_is_a_project_of_its_own(tmp_path: Path) -> None:
    """Its containers do not replace those of production."""
    names = {config(tmp_path, f)["name"] for f in ("docker-compose.yml", "docker-compose-dev.yml")}
    assert len(names) == 2


def test_every_variable_is_in_the_example() -> None:
    """What the compose files read is told in .env.example."""
    example = (ROOT / ".env.example").read_text()
    told = set(re.findall(r"^#?([A-Z_]+)=", example, re.MULTILINE))
    for file in ("docker-compose.yml", "docker-compose-dev.yml"):
        assert set(re.findall(r"(?<!\$)\$\{([A-Z_]+)", (ROOT / file).read_text())) <= told
