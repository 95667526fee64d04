"""The control socket of a running gateway."""

from __future__ import annotations

import grp
import socket
from contextlib import ExitStack

from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config
from tests.kernel.origin import Origin
from tests.kernel.test_supervision import visit, workers

GROUP = "adm"  # Debian's


def test_nuisances_hold_nothing_up(lab: Lab, gateway: Gateway, origin: Origin) -> None:
    """Among half requests and bad ones, status is answered, traffic is judged, and no worker is replaced."""
    running = gateway(config(lab))
    before = workers(lab, running)
    with ExitStack() as crowd:
        for number in range(600):
            client = crowd.enter_context(socket.socket(socket.AF_UNIX))
            client.connect(str(lab.state / "control.sock"))
            client.send(b'{"command": ' if number % 2 else b"GET / HTTP/1.1\r\n\r\n")
        ask(lab, running, "status")
        assert (visit(lab), visit(lab, "blocked.example")) == ("ok", "reset")
    assert workers(lab, running) == before


def test_a_daemon_that_root_starts_joins_the_group(lab: Lab, gateway: Gateway) -> None:
    """The socket has the group of [control], though the daemon may not give files away."""
    gateway(config(lab) + f'group = "{GROUP}"\nmode = 0o640\n')
    stat = (lab.state / "control.sock").stat()
    assert (stat.st_mode & 0o777, grp.getgrgid(stat.st_gid).gr_name) == (0o640, GROUP)
