"""The archive for whoever helps: all that is needed, and nobody's names or addresses."""

from __future__ import annotations

import json
import re
import socket
import tarfile
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from nfqdpi.cli import main
from nfqdpi.doctor.scrub import Scrubber
from tests.events.samples import line

CONFIG = """
[clients]
names = ""
[[group]]
name = "Anna's room"
clients = ["192.168.77.0/24", "fd12:3456::7", "aa:bb:cc:dd:ee:01", "annas-phone"]
[[list]]
name = "grim"
url = "https://lists.secret.example/token=hush/ads.txt"
[[rule]]
name = "no Clowns"
action = "block"
domains = ["*clown*", "=circus.example"]
lists = ["grim"]
groups = ["Anna's room"]
[events]
file = "{0}/eve.json"
syslog = "udp://secret:514"
[state]
directory = "{0}"
[control]
socket = "{0}/control.sock"
owner = "anna"
"""
SECRETS = ("anna", "192.168.77", "fd12", "ee:01", "grim", "secret", "hush", "clown", "circus", "printer", "10.9.8.7",
           "203.0.113", "/path")


@pytest.mark.parametrize(("text", "expected"), [
    ("a.example, A.Example.", "name-1, name-1"),
    ("10.0.0.1 10.0.0.1/32 10.0.0.2:443", "ipv4-1 ipv4-1/32 ipv4-2:443"),
    ("2001:db8::1 2001:DB8:0::1 [fd00::2]:443", "ipv6-1 ipv6-1 [ipv6-2]:443"),
    ("::ffff:192.0.2.1.", "ipv6-1."),
    ("aa:bb:cc:00:11:22 AA-BB-CC-00-11-22", "mac-1 mac-1"),
    ("-s 0.0.0.0/0 ! ::/0 127.0.0.1 ::1 255.255.255.0", "-s 0.0.0.0/0 ! ::/0 127.0.0.1 ::1 255.255.255.0"),
    ("/etc/nfqdpi/nfqdpi.toml 6.18.44 08:15:30 2026-11-22T08:15:30.123456+0100",
     "/etc/nfqdpi/nfqdpi.toml 6.18.44 08:15:30 2026-11-22T08:15:30.123456+0100"),
    ("münchen.example xn--mnchen-3ya.xn--p1ai", "name-1 name-2"),
    ("the kids' rule; KIDS; kidskin", "the word-1' rule; word-1; kidskin"),
    ("net/netfilter/nf_conntrack_max net.netfilter.nf_conntrack_max", "net/netfilter/nf_conntrack_max "
                                                                      "net.netfilter.nf_conntrack_max"),
])
def test_what_goes_and_what_stays(text: str, expected: str) -> None:
    """Every name and address has one stand-in, however it is written; what is nobody's stays readable."""
    numbers: dict[str, str] = {}

    def number(found: re.Match[str]) -> str:
        same = [known for known in numbers if known.startswith(found[1])]
        return numbers.setdefault(found[0], f"{found[1]}-{len(same) + 1}")

    assert re.sub(r"\b(name|word|ipv4|ipv6|mac)-[0-9a-f]{10}", number, Scrubber(["kids"])(text)) == expected


def test_another_bundle_has_other_stand_ins() -> None:
    """Nobody can compare two of them, nor try names out."""
    assert Scrubber()("a.example") != Scrubber()("a.example")


@pytest.fixture
def config(tmp_path: Path) -> Path:
    url = line("www.circus.example", client="10.9.8.7", rule="no Clowns", mac="aa:bb:cc:dd:ee:01").replace(
        b'"tls":{"sni":"www.circus.example","version":"1.3"}',
        b'"http":{"hostname":"printer","http_method":"GET","url":"/path?for=anna"},"other_names":["203.0.113.9","anna"]')
    (tmp_path / "eve.json").write_bytes(line("clown.example", client="10.9.8.7", rule="an older rule of anna") + url)
    file = tmp_path / "nfqdpi.toml"
    file.write_text(CONFIG.format(tmp_path))
    return file


def test_whatever_has_a_name_in_it(config: Path, tmp_path: Path) -> None:
    """QUIC, DNS and what plugins say are as much the client's business; of names without a dot, and of countries whose
    names end like those of files, too."""
    found = json.loads(line())
    del found["tls"]
    parts = ({"quic": {"sni": "anna"}}, {"dns": {"type": "query", "rrname": "grim"}}, {"dns_name": "anna"},
             {"app": {"name": "anna", "attributes": {"software": "anna"}}}, {"sni_mismatch": "anna"},
             {"advice": "dns_tunnels: circus"}, {"quic": {"sni": "secret.py"}})
    notice = {"event_type": "notice", "timestamp": "", "notice": {"kind": "new", "message": "secret.so is new"}}
    (tmp_path / "eve.json").write_text("".join(json.dumps(one) + "\n" for one in [*(found | p for p in parts), notice]))
    config.write_text(f'[events]\nfile = "{tmp_path}/eve.json"\n[state]\ndirectory = "{tmp_path}"\n')
    assert call("-c", config, "-o", tmp_path / "b.tar.gz").exit_code == 0
    told = unpacked(tmp_path / "b.tar.gz")["events.json"]
    assert len(told.splitlines()) == len(parts) + 1
    assert [secret for secret in SECRETS if secret in told] == []
    assert '"advice":"dns_tunnels"' in told


def call(*args: object) -> Result:
    return CliRunner().invoke(main, ["support-bundle", *map(str, args)])


def unpacked(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        contents = ((member.name, archive.extractfile(member)) for member in archive)
        return {Path(name).name: content.read().decode() for name, content in contents if content}


def test_no_secret_is_in_it(config: Path, tmp_path: Path) -> None:
    """Not in the configuration, not in events; what belongs together still does."""
    result = call("-c", config, "-o", tmp_path / "b.tar.gz")
    assert result.exit_code == 0, result.output
    files = unpacked(tmp_path / "b.tar.gz")
    assert {"about.txt", "versions.txt", "config.json", "status.json", "stats.json", "doctor.txt", "rules.txt",
            "queues.txt", "conntrack.txt", "events.json"} == set(files)
    for name, text in files.items():
        for secret in (*SECRETS, socket.gethostname()):
            where = text.lower().replace(str(tmp_path).lower(), "")
            assert secret not in where, (name, secret, where[max(0, where.find(secret) - 80):][:200])
    settings = json.loads(files["config.json"])
    first, second = map(json.loads, files["events.json"].splitlines())
    assert second["verdict"]["rule"] == settings["rule"][0]["name"] != first["verdict"]["rule"]
    assert first["src_ip"] == second["src_ip"]
    assert second["client"]["mac"] == settings["group"][0]["clients"][2]
    assert "not gathered: no daemon answers" in files["status.json"]
    assert "nfqdpi " in files["versions.txt"]


def test_the_file_is_its_owners(config: Path, tmp_path: Path) -> None:
    """Readable by nobody else, and never in place of another."""
    path = tmp_path / "b.tar.gz"
    assert json.loads(call("-c", config, "-o", path, "--json").output)["file"] == str(path)
    assert path.stat().st_mode & 0o777 == 0o600
    again = call("-c", config, "-o", path)
    assert (again.exit_code, "is there already" in again.stderr) == (1, True)
