"""A program on a queue that knows no engine: it answers each packet as the test says."""

from __future__ import annotations

import os
import select
import threading
import warnings
from collections.abc import Callable
from struct import Struct
from typing import Self

import netfilterqueue

from nfqdpi.core.packet import Segment, parse
from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel.netlink import REQUEST, attribute, message, nfgenmsg
from nfqdpi.lab.namespace import Namespace

_CONFIG, _MASK, _FLAGS, _FAIL_OPEN = 0x302, 4, 5, 1  # linux/netfilter/nfnetlink_queue.h
_U32 = Struct("!I")


class Listener:
    """Owns a queue of a namespace. ``verdict`` of a segment is marked and repeated; None lets it pass as it is."""

    def __init__(self, namespace: Namespace, verdict: Callable[[Segment], Verdict | None] = lambda _: None, *,
                 number: int = 0, field: MarkField = MarkField(), length: int = 1024) -> None:  # noqa: B008  frozen
        self.segments: list[Segment] = []
        self.packets: list[bytes] = []
        self.number = number
        self._verdict = verdict
        self._field = field
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)
        with namespace.entered(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the library warns of another buffer size than the one asked for
            self._queue = netfilterqueue.NetfilterQueue()  # opens its socket
            self._queue.bind(number, self._judge, max_len=length)

    def pass_when_full(self, *, on: bool) -> None:
        flags = attribute(_FLAGS, _U32.pack(_FAIL_OPEN if on else 0)) + attribute(_MASK, _U32.pack(_FAIL_OPEN))
        os.write(self._queue.get_fd(), message(_CONFIG, REQUEST, 0, nfgenmsg(resource=self.number) + flags))

    def start(self) -> None:
        self._thread.start()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join()
        self._queue.unbind()

    def _run(self) -> None:
        descriptor = self._queue.get_fd()
        while not self._stop.is_set():
            if select.select([descriptor], [], [], 0.02)[0]:
                self._queue.run(block=False)

    def _judge(self, packet: netfilterqueue.Packet) -> None:
        data = packet.get_payload()
        segment = parse(data)
        self.packets.append(data)
        verdict = None
        if isinstance(segment, Segment):
            self.segments.append(segment)
            verdict = self._verdict(segment)
        if verdict is None:
            packet.accept()
        else:
            packet.set_mark(self._field.write(packet.get_mark(), verdict))
            packet.repeat()
