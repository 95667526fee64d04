"""Devices: what kind they are of, and when they do what their kind does not."""

from __future__ import annotations

from nfqdpi.core.observer import Seen
from nfqdpi.plugins.devices import _MOST_DEVICES, _MOST_DOMAINS, Devices, Settings, make

CAMERA, SECOND, PHONE = (bytes((2, 0, 0, 0, 0, number)) for number in range(3))
ITS = ("maker.com", "ntp.org", "relay.net")
LEARN = 100.0
SETTINGS = Settings(kinds={CAMERA.hex(":").upper(): "camera", "10.0.0.9": "clock"}, learn=LEARN)


def speaks(devices: Devices, who: bytes, *domains: str, when: float = 1000.0, blocked: bool = False) -> list[str]:
    """What is remarked."""
    address, mac = (who, b"") if len(who) == 4 else (bytes((10, 0, 0, who[5])), who)
    return [f"{remark.kind}: {remark.message}" for domain in domains
            for remark in devices.seen(Seen(when, address, mac, (f"www.{domain}",), domain, "dns", blocked))]


def learned() -> Devices:
    devices = Devices(SETTINGS, b"")
    assert speaks(devices, CAMERA, *ITS) == []
    return devices


def test_a_kind_learns_and_then_knows() -> None:
    """What a camera speaks to at first is usual for cameras; a domain that comes later is told of once."""
    devices = learned()
    later = 1001.0 + LEARN
    assert speaks(devices, CAMERA, *ITS, when=later) == []
    assert speaks(devices, CAMERA, "evil.org", "evil.org", when=later) == [
        "device_strange: 02:00:00:00:00:00, which is a camera, speaks to evil.org: no camera did before"]


def test_a_device_is_guessed_by_what_it_speaks_to() -> None:
    """Another that speaks to a camera's domains looks like one; what it does then that no camera does is told of."""
    devices = learned()
    assert speaks(devices, SECOND, *ITS[:2]) == []
    assert speaks(devices, SECOND, ITS[2], *ITS) == [
        "device_kind: 02:00:00:00:00:01 looks like a camera: it speaks to maker.com, ntp.org, relay.net"]
    assert speaks(devices, SECOND, "evil.org") == []  # cameras are still being learned
    assert speaks(devices, SECOND, "evil.org", "worse.org", when=1001.0 + LEARN) == [
        f"device_strange: 02:00:00:00:00:01, which looks like a camera, speaks to {domain}: no camera did before"
        for domain in ("evil.org", "worse.org")]


def test_a_person_is_no_device() -> None:
    """Who speaks to everybody is of no kind, though a camera's domains are among them, and stops being one."""
    devices = learned()
    assert speaks(devices, PHONE, *(f"site{number}.com" for number in range(50)), *ITS) == []
    assert len(speaks(devices, SECOND, *ITS, *(f"site{number}.com" for number in range(50)), when=1001.0 + LEARN)) < 6


def test_a_device_without_a_mac_is_known_by_its_address() -> None:
    """Behind a link that has none; blocked names and flows without one teach nothing."""
    devices = Devices(SETTINGS, b"")
    clock = bytes((10, 0, 0, 9))
    assert speaks(devices, clock, "ntp.org") == speaks(devices, clock, "blocked.org", blocked=True) == []
    assert speaks(devices, clock, "", "ntp.org", "blocked.org", when=1001.0 + LEARN) == [
        "device_strange: 10.0.0.9, which is a clock, speaks to blocked.org: no clock did before"]


def test_what_was_learned_is_remembered() -> None:
    """The next one goes on where this one ended, and says nothing twice."""
    devices = learned()
    later = 1001.0 + LEARN
    speaks(devices, CAMERA, "evil.org", when=later)
    again = make(SETTINGS)[0].begin(devices.memory())
    assert isinstance(again, Devices)
    assert speaks(again, CAMERA, *ITS, "evil.org", when=later) == []
    assert len(speaks(again, CAMERA, "worse.org", when=later)) == 1


def test_memory_is_bounded() -> None:
    """Devices and their domains are as many as may be, whoever speaks to whomever."""
    devices = learned()
    for number in range(_MOST_DEVICES + 10):
        speaks(devices, number.to_bytes(6, "big"), "one.org")
    for number in range(_MOST_DOMAINS + 10):
        speaks(devices, PHONE, f"site{number}.com")
        speaks(devices, CAMERA, f"site{number}.com")
    assert len(devices._devices) == _MOST_DEVICES
    assert len(devices._devices[PHONE.hex(":")].domains) == len(devices._kinds["camera"].domains) == _MOST_DOMAINS
