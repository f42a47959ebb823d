"""Fixtures: running services, and the universities API that they ask."""

import itertools
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.service.processes import Sandbox, Service, start_service
from tests.service.universities_twin import UniversitiesTwin, running_twin

SERVERS = ("granian", "gunicorn")
TIMEOUTS = {"UNIVERSITIES_READ_TIMEOUT": "0.6", "UNIVERSITIES_TOTAL_TIMEOUT": "1"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what needs /proc, from which the tests read which processes are left."""
    if not Path("/proc/self/environ").exists():
        for item in items:
            if {"service", "start", "sandbox"} & set(getattr(item, "fixturenames", ())):
                item.add_marker(pytest.mark.skip(reason="needs /proc"))


@pytest.fixture(scope="session")
def twin() -> Iterator[UniversitiesTwin]:
    """A universities API."""
    with running_twin() as running:
        yield running


@pytest.fixture(scope="session", params=SERVERS)
def service(request: pytest.FixtureRequest, twin: UniversitiesTwin) -> Iterator[Service]:
    """A running service for all tests that do it no harm: each server, with two workers."""
    sandbox = Sandbox(SERVER=request.param, UNIVERSITIES_API_URL=twin.url, **TIMEOUTS)
    try:
        yield start_service(sandbox)
    finally:
        sandbox.remove()


@pytest.fixture
def start(twin: UniversitiesTwin) -> Iterator[Callable[..., Service]]:
    """Start a service that the test may harm."""
    sandboxes: list[Sandbox] = []

    def start(module: str = "service", **settings: str) -> Service:
        sandboxes.append(Sandbox(**{"UNIVERSITIES_API_URL": twin.url, **settings}))
        return start_service(sandboxes[-1], module)

    try:
        yield start
    finally:
        for sandbox in sandboxes:
            sandbox.remove()


@pytest.fixture
def sandbox() -> Iterator[Sandbox]:
    """An environment without a service."""
    sandbox = Sandbox()
    try:
        yield sandbox
    finally:
        sandbox.remove()


@pytest.fixture
def number() -> int:
    """A number that no other test asks for, nor the nine after it."""
    return next(_numbers)


_numbers = itertools.count(1_000_000 + os.getpid() * 10_000, 10)
