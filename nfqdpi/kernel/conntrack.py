"""Conntrack entries: listed, marked, forgotten, watched. Bits of a mark outside the field never change.

Own code because of speed: 50,000 entries take pyroute2 20 s. Everything here needs CAP_NET_ADMIN.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Self

from nfqdpi.core.verdict import MarkField, Verdict
from nfqdpi.kernel import ctnetlink
from nfqdpi.kernel.ctnetlink import Change, Entry, Event
from nfqdpi.kernel.netlink import Message, Netlink, nfgenmsg
from nfqdpi.kernel.passage import Passage, passage

_EVENT_BUFFER = 8 << 20  # bytes; some 20,000 events may wait


def dump(field: MarkField, verdict: Verdict | None = None, family: int = socket.AF_UNSPEC) -> Iterator[Entry]:
    """The entries whose field holds the verdict, or all of them, while the kernel lists them.

    The kernel picks them out. Raises OSError, Malformed.
    """
    which = b"" if verdict is None else ctnetlink.mark_attributes(field, verdict)
    with Netlink() as kernel:
        yield from map(ctnetlink.entry, kernel.dump(ctnetlink.GET, nfgenmsg(family) + which))


def passages(which: bytes = b"") -> Iterator[Passage]:
    """The flows that the attributes pick (none: all of them), as the FORWARD chain sees them. Raises OSError,
    Malformed."""
    with Netlink() as kernel:
        for message in kernel.dump(ctnetlink.GET, nfgenmsg() + which):
            if (found := passage(message)) is not None:
                yield found


def watch() -> Iterator[Event]:
    """Changes of entries from this call on, as the kernel makes them, without end. Raises OSError, Malformed.

    An entry that is older than the first listener tells nothing, not even its end, unless
    net.netfilter.nf_conntrack_events is 1 (nf_conntrack_ecache.c: nf_ct_ecache_ext_add).
    """
    kernel = Netlink()
    kernel.join(*ctnetlink.GROUPS, buffer=_EVENT_BUFFER)
    return _events(kernel)


def _events(kernel: Netlink) -> Iterator[Event]:
    with kernel:
        while True:
            try:
                heard = list(kernel.hear())
            except OSError as error:
                if error.errno != errno.ENOBUFS:
                    raise
                yield Event(Change.LOST)
            else:
                yield from map(ctnetlink.event, heard)


class Ends:
    """Tells which entries have ended, for a loop that does other things, too: it waits for nothing."""

    def __init__(self) -> None:
        self._kernel = Netlink()
        self._kernel.join(ctnetlink.DESTROYED, buffer=_EVENT_BUFFER)
        self._kernel.wait_for_nothing()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        self._kernel.__exit__(kind, error, tb)

    def fileno(self) -> int:
        """Readable when there is something to tell."""
        return self._kernel.fileno()

    def read(self) -> list[Message]:
        """Some entries that have ended. Raises BlockingIOError where there is none, and OSError with ENOBUFS where the
        kernel had more to tell of than it could keep for us; Malformed."""
        return list(self._kernel.hear())


class Conntrack:
    """Changes entries. Each call waits for the kernel's answer; OSError with ENOENT says that the entry is gone."""

    def __init__(self, kernel: Netlink) -> None:
        self._kernel = kernel

    def set_mark(self, entry: Entry, field: MarkField, verdict: Verdict) -> None:
        """Write the verdict into the entry's field."""
        self._kernel.change(ctnetlink.NEW, ctnetlink.name(entry) + ctnetlink.mark_attributes(field, verdict))

    def delete(self, entry: Entry) -> None:
        """Forget the entry; one that has taken its place is left alone, as far as the id tells."""
        self._kernel.change(ctnetlink.DELETE, ctnetlink.name(entry) + ctnetlink.id_attribute(entry))

    def set_marks(self, entries: Iterable[Entry], field: MarkField, verdict: Verdict) -> int:
        """Write the verdict into each entry that is still there; how many these were."""
        return self.mark_named((ctnetlink.name(entry) for entry in entries), field, verdict)

    def mark_named(self, names: Iterable[bytes], field: MarkField, verdict: Verdict) -> int:
        """As ``set_marks``, of entries that are named by their bodies."""
        mark = ctnetlink.mark_attributes(field, verdict)
        return self._kernel.change_each(ctnetlink.NEW, (name + mark for name in names))

    def delete_each(self, entries: Iterable[Entry]) -> int:
        """Forget each entry that is still there; how many these were."""
        bodies = (ctnetlink.name(entry) + ctnetlink.id_attribute(entry) for entry in entries)
        return self._kernel.change_each(ctnetlink.DELETE, bodies)

    def flush(self, field: MarkField, verdict: Verdict) -> None:
        """Forget every entry whose field holds the verdict, in one message (ctnetlink_flush_conntrack)."""
        self._kernel.change(ctnetlink.DELETE, nfgenmsg() + ctnetlink.mark_attributes(field, verdict))
