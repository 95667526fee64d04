"""The control socket of a running gateway."""

from __future__ import annotations

import grp
import json
import socket
from contextlib import ExitStack
from pathlib import Path

from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, workers
from tests.kernel.origin import Origin, visit

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


def test_status_for_a_reader_who_is_not_root(lab: Lab, gateway: Gateway, python: str) -> None:
    """The daemon's word, and that nobody has looked at the rules: no reason to take them for bad."""
    lab.state.chmod(0o755)
    running = gateway(config(lab) + f'group = "{GROUP}"\n')
    reader = f"import os; os.setgroups([]); os.setgid({grp.getgrnam(GROUP).gr_gid}); os.setuid(65534)"
    program = f"{reader}; from nfqdpi.cli import main; main()"
    command: list[str | Path] = [python, "-c", program, "status", "-c", running.config]
    done = lab.gateway.run(command)
    assert "strict mode, rules not looked at (for root)\n" in done.stdout
    status = json.loads(lab.gateway.run([*command, "--json"]).stdout)
    assert (status["problems"], status["rules_checked"]) == ([], False)
    assert json.loads(ask(lab, running, "status", "--json"))["rules_checked"] is True
