"""The kernel's queues: who listens on them, and how full they are.

Sources: net/netfilter/nfnetlink_queue.c (seq_show, nfqnl_recv_config), include/uapi/linux/netfilter/nfnetlink_queue.h.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from struct import Struct
from typing import NamedTuple

from nfqdpi.kernel.netlink import NETLINK_NETFILTER, Netlink, attribute, nfgenmsg

# --- nfnetlink_queue's constants ---
_CONFIG = 0x302  # NFNL_SUBSYS_QUEUE << 8 | NFQNL_MSG_CONFIG
_CFG_CMD, _CFG_MASK, _CFG_FLAGS = 1, 4, 5  # NFQA_CFG_*
_BIND = Struct("!BxH").pack(1, 0)  # nfqnl_msg_config_cmd: NFQNL_CFG_CMD_BIND; the family has no meaning any more
_CONNTRACK = 2  # NFQA_CFG_F_*
_U32 = Struct("!I")
_LISTING = Path("/proc/net/netfilter/nfnetlink_queue")
_HIGHEST = 0xFFFF


class Queue(NamedTuple):
    """One line of /proc/net/netfilter/nfnetlink_queue.

    ``waiting`` packets have no verdict yet; ``dropped`` found the queue full, ``lost`` could not be handed to the
    listener; ``packets`` is the id of the last one: all that ever entered since the listener bound.
    """

    number: int
    portid: int
    waiting: int
    copy_mode: int
    copy_range: int
    dropped: int
    lost: int
    packets: int

    @property
    def owner(self) -> int | None:
        """The listener's process id; None where it cannot be seen (another PID namespace, no permission)."""
        return next(_holders(_inode(self.portid)), None)


def queues() -> dict[int, Queue]:
    """The queues of this network namespace that have a listener, by number."""
    try:
        lines = _LISTING.read_text().splitlines()
    except FileNotFoundError:
        return {}  # nfnetlink_queue is not in the kernel: there are no queues
    found = (Queue(*map(int, line.split()[:8])) for line in lines)
    return {queue.number: queue for queue in found}


def show_to(group: int) -> None:
    """Let a group, by its number, read what ``queues`` reads, in this network namespace: the kernel shows it to root
    alone. Raises OSError."""
    glue()  # has the kernel load the module: until then there is no listing
    os.chown(_LISTING, -1, group)


def glue() -> bool:
    """True where the kernel can put conntrack's own data into queue messages (NETFILTER_NETLINK_GLUE_CT).

    Found out by asking for it on a queue that nobody uses. Raises OSError where there is no NFQUEUE at all.
    """
    number = next(free for free in range(_HIGHEST, 0, -1) if free not in queues())
    with Netlink() as kernel:
        queue, flag = nfgenmsg(resource=number), _U32.pack(_CONNTRACK)
        kernel.change(_CONFIG, queue + attribute(_CFG_CMD, _BIND))
        try:
            kernel.change(_CONFIG, queue + attribute(_CFG_FLAGS, flag) + attribute(_CFG_MASK, flag))
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return False
    return True


def _inode(portid: int) -> int:
    """The inode of the netfilter socket with this port; 0 where there is none."""
    for line in Path("/proc/net/netlink").read_text().splitlines()[1:]:
        _, protocol, port, *_, inode = line.split()
        if int(protocol) == NETLINK_NETFILTER and int(port) == portid:
            return int(inode)
    return 0


def _holders(inode: int) -> Iterator[int]:
    """The processes that have the socket open."""
    for process in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):  # it has ended, or is another user's
            if any(_link(descriptor) == f"socket:[{inode}]" for descriptor in (process / "fd").iterdir()):
                yield int(process.name)


def _link(descriptor: Path) -> str:
    """What a descriptor is; nothing where it has been closed meanwhile."""
    try:
        return str(descriptor.readlink())
    except FileNotFoundError:
        return ""
