"""What is left of root in the daemon and in all that it starts."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from click.testing import CliRunner

from nfqdpi.cli import main
from nfqdpi.kernel.privileges import as_owner
from nfqdpi.lab.network import Lab
from tests.kernel.daily import Gateway, ask, config, supervisor, workers
from tests.kernel.namespaces import back_end_path, fresh
from tests.kernel.origin import Origin, visit

TWO = f"{1 << 12 | 1 << 13:016x}"  # CAP_NET_ADMIN, CAP_NET_RAW
SETS = ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
USER = "nobody"


def own(lab: Lab, user: str) -> str:
    """A configuration for the user, its directories not yet made."""
    text = config(lab).replace("/eve.json", "/log/eve.json").replace("/control.sock", "/run/control.sock")
    return f'{text}[service]\nuser = "{user}"\n'


def status(pid: int) -> dict[str, str]:
    """proc_pid_status(5)."""
    return dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())


@pytest.mark.parametrize("user", ["", USER])
def test_two_capabilities_are_left(lab: Lab, gateway: Gateway, origin: Origin, python: str, user: str) -> None:
    """The supervisor and every worker hold two capabilities, and never more; they are the user of [service], judge
    traffic, reset servers, and take their rules away."""
    lab.state.chmod(0o755)
    running = gateway(own(lab, user))
    uid = "0" if not user else "65534"
    for pid in (supervisor(running), *workers(lab, running)):
        told = status(pid)
        assert [told[one] for one in SETS] == [TWO] * len(SETS)
        assert (told["NoNewPrivs"], told["Uid"].split(), told["Gid"].split()) == ("1", [uid] * 4, [uid] * 4)
        assert told["Groups"].strip() in {"", uid}
    assert (visit(lab), visit(lab, "blocked.example")) == ("ok", "reset")
    assert json.loads(ask(lab, running, "stats", "--json"))["total"]["resets"] == 1
    assert str((lab.state / "log/eve.json").stat().st_uid) == uid
    ask(lab, running, "block", "more.example")  # by root, into the user's directory
    assert visit(lab, "more.example") == "reset"
    assert {str(file.stat().st_uid) for file in (lab.state / "state").iterdir()} == {uid}
    assert running.stop() == 0
    assert "NFQDPI" not in lab.gateway.run(["iptables-save"]).stdout


@pytest.mark.parametrize(("user", "code", "complaint"), [
    ("nobody-at-all", 2, "[service] user: there is no user 'nobody-at-all'"),
    (USER, 4, f"[service] user: {USER} may not read "),
])
def test_a_user_that_cannot_be(lab: Lab, python: str, user: str, code: int, complaint: str) -> None:
    """Who does not exist, or cannot read the configuration, runs no daemon."""
    file = lab.state / "nfqdpi.toml"
    file.write_text(own(lab, user))
    file.chmod(0o600)
    done = lab.gateway.run([sys.executable, "-m", "nfqdpi", "run", "-c", str(file)], check=False)
    assert (done.returncode, complaint in done.stderr) == (code, True), done.stderr


def test_a_configuration_in_a_home_directory(lab: Lab, gateway: Gateway) -> None:
    """What root can read only as root, it can read again for a reload: that one capability stays."""
    text = config(lab)
    file = lab.state / "nfqdpi.toml"
    file.touch()
    os.chown(file, 65534, 65534)
    file.chmod(0o600)
    running = gateway(text)
    assert status(supervisor(running))["CapEff"] == f"{int(TWO, 16) | 1 << 2:016x}"
    assert "running flows" in ask(lab, running, "reload")


@pytest.mark.parametrize("back_end", ["nft", "legacy"])
def test_iptables_of_a_user(tmp_path: Path, python: str, back_end: str) -> None:
    """A user with the two capabilities installs and removes rules, on either back end; legacy's lock it must be able to
    read, which the package sees to."""
    lock = tmp_path / "lock"
    lock.touch(mode=0o644)
    for directory in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        directory.chmod(0o755)
    program = (
        "from nfqdpi.kernel import firewall; from nfqdpi.kernel.privileges import Capability, drop\n"
        f"drop(Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW, user={USER!r})\n"
        "from nfqdpi.config import Config; from nfqdpi.daemon.rules import ruleset\n"
        "firewall.install(ruleset(Config())); print(firewall.installed(), firewall.bypassed())\n"
        "firewall.remove(); print(firewall.installed())\n"
    )
    with fresh() as namespace:
        environment = [f"PATH={back_end_path(tmp_path, back_end)}", f"XTABLES_LOCKFILE={lock}"]
        done = namespace.run(["env", *environment, python, "-c", program], check=False)
    assert (done.returncode, done.stdout) == (0, "True 0\nFalse\n"), done.stderr


def test_what_root_writes_for_a_user() -> None:
    """Below another's directory root writes as its owner, and is root again afterwards."""
    with TemporaryDirectory() as directory:
        os.chown(directory, 65534, 65534)
        with as_owner(Path(directory)):
            Path(directory, "file").touch()
        Path(directory, "root's").touch()
        assert [Path(directory, name).stat().st_uid for name in ("file", "root's")] == [65534, 0]


def test_a_list_that_root_adds(tmp_path: Path) -> None:
    """Who reads the configuration can read what is added to it, whatever root's umask."""
    file, source = tmp_path / "etc" / "nfqdpi.toml", tmp_path / "ads.txt"
    file.parent.mkdir(mode=0o750)
    os.chown(file.parent, 0, 65534)
    file.write_text(f'[state]\ndirectory = "{tmp_path}/state"\n[control]\nsocket = ""\n')
    file.chmod(0o640)
    os.chown(file, 0, 65534)
    source.write_text("ads.example\n")
    before = os.umask(0o077)
    try:
        assert CliRunner().invoke(main, ["lists", "add", "ads", str(source), "-c", str(file)]).exit_code == 0
    finally:
        os.umask(before)
    for name, mode in (("conf.d", 0o40750), ("conf.d/lists.toml", 0o100640)):
        found = (file.parent / name).stat()
        assert (found.st_mode, found.st_uid, found.st_gid) == (mode, 0, 65534)


def test_systemd_is_fed(lab: Lab, gateway: Gateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """WATCHDOG=1 comes while every worker answers; a reload is RELOADING=1, then READY=1."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd:
        systemd.bind(str(lab.state / "notify"))
        systemd.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(lab.state / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "400000")
        running = gateway(config(lab))
        assert {systemd.recv(100) for _ in range(3)} == {b"READY=1", b"WATCHDOG=1"}
        subprocess.run(["kill", "-HUP", str(supervisor(running))], check=True)
        told = []
        while b"READY=1" not in told:
            told.append(systemd.recv(100))
        assert [one.split(b"\n")[0] for one in told if not one.startswith(b"WATCHDOG")] == [b"RELOADING=1", b"READY=1"]
