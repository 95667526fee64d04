"""Kernel tests run against the real kernel, in network namespaces of their own; they need root."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from nfqdpi.kernel.privileges import missing
from nfqdpi.lab import needs
from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.daemon import Daemon, daemon
from nfqdpi.lab.network import Lab
from nfqdpi.lab.web import WebServer
from tests.kernel.origin import Origin

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.kernel)


@pytest.fixture(autouse=True, scope="session")
def _privileged() -> None:
    if lacking := missing(*needs.CAPABILITIES):
        pytest.fail(f"kernel tests need root (no {', '.join(lacking)}): sudo ./dev test, or leave out: -m 'not kernel'")


@pytest.fixture
def lab() -> Iterator[Lab]:
    """The network: client, gateway, server. No daemon and no web server yet."""
    with Lab(f"nfqdpi-lab-test{os.getpid()}") as built:
        yield built


@pytest.fixture
def web(lab: Lab) -> WebServer:
    """nginx in the lab's server, with a certificate for the lab's names."""
    return WebServer(lab.server, lab.state / "web", NAMES)


@pytest.fixture
def origin(lab: Lab) -> Iterator[Origin]:
    """A server application that writes down what it reads, on port 80 of the lab's server."""
    with Origin(lab.server) as listening:
        yield listening


@pytest.fixture
def gateway(lab: Lab) -> Iterator[Callable[..., Daemon]]:
    """``gateway(config_text, back_end="")``: the daemon, judging the lab's traffic until the test ends."""
    with ExitStack() as running:
        yield lambda config_text, back_end="": running.enter_context(daemon(lab, config_text, back_end))
