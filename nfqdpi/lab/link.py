"""A bad link: an Ethernet cable between two namespaces that loses, repeats and reorders what it carries.

Two TAP devices and a process between them that hands frames on. It runs in the namespace of the first end, so that it
goes with the lab: `python -m nfqdpi.lab.link FD FD TROUBLE`.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import asdict, dataclass
from heapq import heappop, heappush
from pathlib import Path
from random import Random

from nfqdpi.lab.namespace import Namespace

_TUNSETIFF = 0x400454CA  # linux/if_tun.h
_IFF_TAP, _IFF_NO_PI = 0x0002, 0x1000
_LARGEST_FRAME = 1 << 16  # bytes
_BATCH = 64  # frames of one end before the other has its turn


End = tuple[Namespace, str]  # an interface: where, and its name there


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to a frame on its way, in either direction, as probabilities. One that is reordered, and the second
    copy of one that is duplicated, comes up to ``delay`` seconds after those sent behind it."""

    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0
    delay: float = 0.005
    seed: int = 1


def lay(one: End, other: End, trouble: Trouble, log: Path) -> subprocess.Popen[bytes]:
    """Make both interfaces and the link between them: a process that ends with the first namespace."""
    taps = [_tap(*one), _tap(*other)]
    try:
        arguments = [*map(str, taps), json.dumps(asdict(trouble))]
        return one[0].popen([sys.executable, "-m", "nfqdpi.lab.link", *arguments], log=log, pass_fds=taps)
    finally:
        for tap in taps:
            os.close(tap)


def _tap(namespace: Namespace, name: str) -> int:
    """A TAP device that lasts as long as its descriptor. Without offloads: the kernel hands it whole, summed frames."""
    with namespace.entered():
        tap = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)
        fcntl.ioctl(tap, _TUNSETIFF, struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI))
    return tap


class _Link:
    """Frames in at one end, out at the other, and those on their way."""

    def __init__(self, ends: tuple[int, int], trouble: Trouble) -> None:
        self._other = {ends[0]: ends[1], ends[1]: ends[0]}
        # One for each direction: what the one carries changes nothing of the other's fate.
        self._random = {end: Random(f"{trouble.seed} {side}") for side, end in enumerate(ends)}  # noqa: S311  no secret
        self._trouble = trouble
        self._late: list[tuple[float, int, int, bytes]] = []  # when, a number that keeps the order, to, frame
        self._number = 0

    def carry(self) -> None:
        """Until an interface is gone."""
        poll = select.poll()
        for end in self._other:
            poll.register(end, select.POLLIN)
        while True:
            wait = max(0.0, self._late[0][0] - time.monotonic()) * 1000 if self._late else None
            for end, events in poll.poll(wait):
                if events & ~select.POLLIN:
                    return
                self._take(end)
            now = time.monotonic()
            while self._late and self._late[0][0] <= now:
                _, _, end, frame = heappop(self._late)
                _send(end, frame)

    def _take(self, end: int) -> None:
        draw, trouble, to = self._random[end].random, self._trouble, self._other[end]
        with suppress(BlockingIOError):
            for _ in range(_BATCH):
                frame = os.read(end, _LARGEST_FRAME)
                if draw() < trouble.loss:
                    continue
                if draw() < trouble.reorder:
                    self._delay(to, frame, draw())
                else:
                    _send(to, frame)
                if draw() < trouble.duplicate:
                    self._delay(to, frame, draw())

    def _delay(self, end: int, frame: bytes, part: float) -> None:
        self._number += 1
        heappush(self._late, (time.monotonic() + part * self._trouble.delay, self._number, end, frame))


def _send(end: int, frame: bytes) -> None:
    with suppress(OSError):  # the far interface is down, or has no room: a cable does not mind
        os.write(end, frame)


if __name__ == "__main__":
    _Link((int(sys.argv[1]), int(sys.argv[2])), Trouble(**json.loads(sys.argv[3]))).carry()
