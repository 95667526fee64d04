"""What whoever helps an operator has to see: an archive without names and addresses."""

from __future__ import annotations

import io
import os
import platform
import socket
import tarfile
from collections.abc import Callable, Iterator
from importlib.metadata import distributions
from pathlib import Path
from time import time
from urllib.parse import urlsplit

import msgspec

from nfqdpi.build import version
from nfqdpi.config.model import Config
from nfqdpi.daemon.ask import NotRunning, ask
from nfqdpi.daemon.rules import ruleset
from nfqdpi.doctor import examine
from nfqdpi.doctor.scrub import Scrubber
from nfqdpi.events.model import Event
from nfqdpi.events.reader import Reader, Saved, siblings
from nfqdpi.kernel import firewall, sysctl
from nfqdpi.plugins import PluginError

_EVENTS = 200  # the last ones
_ABOUT = """\
What nfqdpi support-bundle gathered on a gateway. Names of hosts, rules, groups, clients and lists, addresses, MAC
addresses and URLs are replaced by stand-ins (name-..., word-..., ipv4-..., ipv6-..., mac-...). A stand-in is the same
wherever its original stood in this archive, and another one in any other archive: it is made with a random salt that
nobody has kept. What could not be gathered says why in its place.
"""

Part = Callable[[Config], str]


def parts(config: Config) -> Iterator[tuple[str, str]]:
    """The files of the archive: name, and content that has been through the scrubber."""
    scrub = Scrubber(secrets(config))
    yield "about.txt", _ABOUT
    for name, part in _PARTS.items():
        try:
            text = part(config)
        except (OSError, NotRunning, firewall.FirewallError, PluginError) as error:
            text = f"not gathered: {error}\n"
        yield name, scrub(text)
    yield "events.json", scrub(_events(config, scrub))


def write(config: Config, path: Path) -> list[str]:
    """Make the archive, readable by its owner alone; the names in it. Raises OSError."""
    folder = path.name.removesuffix(".tar.gz")
    names = []
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file, \
            tarfile.open(fileobj=file, mode="w:gz") as archive:
        for name, text in parts(config):
            content = text.encode(errors="replace")
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size, member.mtime, member.mode = len(content), int(time()), 0o600
            archive.addfile(member, io.BytesIO(content))
            names.append(name)
    return names


def secrets(config: Config) -> Iterator[str]:
    """The words of a configuration, and of this machine, that are nobody else's business."""
    host = socket.gethostname()
    yield from (host, host.partition(".")[0], config.control.owner, config.control.group, config.service.user)
    yield urlsplit(config.events.syslog).hostname or ""
    for tables in (config.rule, config.group, config.list, config.schedule):
        yield from (one.name for one in tables)
    for rule in config.rule:
        yield from (domain.strip("=*.") for domain in rule.domains)
    for group in config.group:
        yield from (member.partition("/")[0] for member in group.clients)
    for source in config.list:
        yield from (source.url, source.path)


def _json(value: object) -> str:
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str)).decode() + "\n"


def _versions(_: Config) -> str:
    packages = sorted({f"{one.metadata['Name']} {one.version}" for one in distributions()}, key=str.lower)
    system = Path("/etc/os-release")
    return "\n".join([f"nfqdpi {version()}", f"Python {platform.python_version()}", f"Linux {platform.release()} "
                      f"{platform.machine()}", *packages, "", system.read_text() if system.exists() else ""])


def _doctor(config: Config) -> str:
    return "".join(f"{finding.level:<5} {finding.name:<26} {finding.meaning}\n" for finding in examine(config))


def _rules(config: Config) -> str:
    differences = firewall.check(ruleset(config)) if firewall.installed() else ["not installed"]
    return "\n".join(["ours, against the configuration:", *(differences or ["as configured"]), "", "others:",
                      *(f"{place}: {rule}" for place, rule in firewall.others()), ""])


def _settings(_: Config) -> str:
    found = {key: sysctl.read(f"netfilter/{key}") for key in (
        "nf_conntrack_count", "nf_conntrack_max", "nf_conntrack_buckets", "nf_conntrack_tcp_timeout_established")}
    return "".join(f"{key} = {value}\n" for key, value in found.items())


def _events(config: Config, scrub: Scrubber) -> str:
    """The last events; of a URL and the like, which may hold anything, nothing."""
    if not config.events.file:
        return "there is no event file\n"
    try:
        found = Reader(lambda _: True).last([Saved(path) for path in siblings(Path(config.events.file))], _EVENTS)
    except OSError as error:
        return f"not gathered: {error}\n"
    lines = [read.line for read in found]
    for line in lines:
        if isinstance(line, Event):
            hide(line, scrub)
    return "".join(msgspec.json.encode(line).decode() + "\n" for line in lines)


def hide(event: Event, scrub: Scrubber) -> None:
    """Take out of an event what the scrubber cannot tell from a word: names without a dot, rules that are no more."""
    for kind, part, fields in (("name", event.tls, ("sni",)), ("name", event.quic, ("sni",)),
                               ("name", event.http, ("hostname",)), ("name", event.dns, ("rrname",)),
                               ("name", event.app, ("name",)), ("name", event, ("dns_name", "sni_mismatch")),
                               ("word", event.verdict, ("rule", "list"))):
        for field in fields:
            if secret := getattr(part, field, None):
                setattr(part, field, scrub.stand_in(kind, secret))
    event.other_names = tuple(scrub.stand_in("name", name) for name in event.other_names)
    event.advice = event.advice.partition(":")[0]  # the plugin; why may name anybody
    if event.http:
        event.http.url = ""
    if event.app:
        event.app.attributes = {}


_PARTS: dict[str, Part] = {
    "versions.txt": _versions,
    "config.json": _json,
    "status.json": lambda config: _json(ask(config.control.socket, "status")),
    "stats.json": lambda config: _json(ask(config.control.socket, "stats")),
    "doctor.txt": _doctor,
    "rules.txt": _rules,
    "queues.txt": lambda _: Path("/proc/net/netfilter/nfnetlink_queue").read_text(),
    "conntrack.txt": _settings,
}
