"""Kernel tests run against the real kernel, in network namespaces of their own; they need root."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

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


@pytest.fixture
def hasty(lab: Lab) -> Iterator[Callable[[str], Daemon]]:
    """As ``gateway``, for what the daemon finds out only when it looks next."""
    with ExitStack() as running:
        yield lambda config_text: running.enter_context(daemon(lab, config_text, program="tests.kernel.hasty"))


# A Python in root's home directory is nobody else's: for these tests everybody may pass through there.
_OPEN = """\
#!/bin/sh
exec unshare --mount sh -euc '
    mount --bind {base} {here}
    mount --types tmpfs --options mode=755 tmpfs {closed}
    mkdir -p {base}
    mount --bind {here} {base}
    exec {python} "$@"
' sh "$@"
"""


@pytest.fixture
def python(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """A Python for any user, which everything that is started is given."""
    base = Path(sys.base_prefix)
    closed = next((parent for parent in reversed(base.parents) if not parent.stat().st_mode & stat.S_IXOTH), None)
    with TemporaryDirectory() as directory:
        if closed:
            wrapper, here = Path(directory, "python"), Path(directory, "base")
            here.mkdir()
            wrapper.write_text(_OPEN.format(base=base, here=here, closed=closed, python=sys.executable))
            wrapper.chmod(0o755)
            monkeypatch.setattr(sys, "executable", str(wrapper))
        yield sys.executable
