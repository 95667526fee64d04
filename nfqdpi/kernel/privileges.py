"""The capabilities of this process, and how it gives up all that it does not need (capabilities(7))."""

from __future__ import annotations

import os
import pwd
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import cache
from pathlib import Path

# --- include/uapi/linux/capability.h, prctl.h ---
_VERSION_3 = 0x20080522
_KEEPCAPS, _BOUNDING_READ, _BOUNDING_DROP, _NO_NEW_PRIVILEGES, _AMBIENT = 8, 23, 24, 38, 47
_AMBIENT_RAISE, _AMBIENT_CLEAR_ALL = 2, 4


class Capability(IntEnum):
    """Bit numbers of include/uapi/linux/capability.h."""

    CAP_DAC_READ_SEARCH = 2
    CAP_SETGID = 6
    CAP_SETPCAP = 8
    CAP_NET_ADMIN = 12
    CAP_NET_RAW = 13
    CAP_SYS_ADMIN = 21


def missing(*needed: Capability) -> list[str]:
    """The names of those that this process does not have."""
    effective = _held("CapEff")
    return [capability.name for capability in needed if not effective >> capability & 1]


def drop(*kept: Capability, user: str = "", groups: Iterable[int] = (), directories: Iterable[Path] = (),
         reads: Iterable[Path] = ()) -> None:
    """From here on this process and all that it starts, as whatever program, have these capabilities and never any
    other. With ``user`` they are that user, too: of ``directories`` those that are not there are made first, and given
    to it. Others keep their owner, who may have put them there for more than us. Where we may, they join ``groups``.

    ``reads`` is what has to be read later on. Where root can do so only because it is root (a checkout in a home
    directory that is its owner's alone), CAP_DAC_READ_SEARCH is kept as well; where ``user`` cannot, that is an error.

    To be called before there is a second thread, whose capabilities are its own. Raises LookupError where there is no
    such user; OSError.
    """
    _prctl(_NO_NEW_PRIVILEGES, 1)
    wanted = _mask(kept)
    # A service manager may have done it all, and may forbid the very calls.
    if all(_held(kind) == wanted for kind in ("CapPrm", "CapEff", "CapInh", "CapAmb", "CapBnd")):
        return
    may_bound = not missing(Capability.CAP_SETPCAP)
    _become(user, groups, directories)
    _set(effective=wanted, permitted=_held("CapPrm"))
    if denied := _denied(reads):
        if os.geteuid() != 0:
            raise denied
        wanted |= _mask([Capability.CAP_DAC_READ_SEARCH])
    # What nobody can gain any more matters to nobody, so nothing is lost where we may not drop it.
    if may_bound:
        _set(effective=wanted | _mask([Capability.CAP_SETPCAP]), permitted=_held("CapPrm"))
        for capability in range(int(Path("/proc/sys/kernel/cap_last_cap").read_text()) + 1):
            if not wanted >> capability & 1 and _prctl(_BOUNDING_READ, capability):
                _prctl(_BOUNDING_DROP, capability)
    _set(effective=wanted, permitted=wanted)
    _prctl(_AMBIENT, _AMBIENT_CLEAR_ALL)
    for capability in range(wanted.bit_length()):
        if wanted >> capability & 1:
            _prctl(_AMBIENT, _AMBIENT_RAISE, capability)  # for iptables, where we are not root


@contextmanager
def as_owner(directory: Path) -> Iterator[None]:
    """What root writes below a directory within this is its owner's, as if that user had: the daemon's, who has to
    write there next. Without the directory, or for others than root, nothing changes."""
    if os.geteuid() != 0 or not directory.exists() or (owner := directory.stat()).st_uid == 0:
        yield
        return
    os.setegid(owner.st_gid)
    os.seteuid(owner.st_uid)
    try:
        yield
    finally:
        os.seteuid(0)
        os.setegid(0)


def _become(user: str, groups: Iterable[int], directories: Iterable[Path]) -> None:
    account = pwd.getpwnam(user) if user else None
    if account is None or account.pw_uid == os.geteuid():
        if not missing(Capability.CAP_SETGID):
            os.setgroups([*{*os.getgroups(), *groups}])
        return
    for directory in directories:
        if not directory.exists():
            directory.mkdir(parents=True)
            os.chown(directory, account.pw_uid, account.pw_gid)
    os.setgroups([*{*os.getgrouplist(account.pw_name, account.pw_gid), *groups}])
    os.setgid(account.pw_gid)
    _prctl(_KEEPCAPS, 1)
    os.setuid(account.pw_uid)


def _denied(paths: Iterable[Path]) -> PermissionError | None:
    """Why one of these cannot be read; what is not there is no reason."""
    for path in paths:
        try:
            os.close(os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        except PermissionError as error:
            return error
        except OSError:
            pass
    return None


def _mask(capabilities: Iterable[Capability]) -> int:
    return sum(1 << capability for capability in capabilities)


def _held(kind: str) -> int:
    """One of the process's sets, by its name in proc_pid_status(5)."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines())
    return int(status[kind], 16)


def _set(*, effective: int, permitted: int) -> None:
    """What is effective is inheritable, too."""
    from ctypes import c_uint32

    sets = (effective, permitted, effective)
    words = (word for shift in (0, 32) for word in (one >> shift & 0xFFFFFFFF for one in sets))
    _call("capset", (c_uint32 * 2)(_VERSION_3, 0), (c_uint32 * 6)(*words))


def _prctl(option: int, *arguments: int) -> int:
    from ctypes import c_ulong

    return _call("prctl", option, *map(c_ulong, (*arguments, 0, 0, 0, 0)[:4]))


def _call(name: str, *arguments: object) -> int:
    from ctypes import get_errno

    result = _function(name)(*arguments)
    if result < 0:
        raise OSError(get_errno(), f"{name}: {os.strerror(get_errno())}")
    return result


@cache
def _function(name: str) -> Callable[..., int]:
    """Of the C library: os has neither. Only who drops privileges needs ctypes."""
    from ctypes import CDLL

    function: Callable[..., int] = CDLL(None, use_errno=True)[name]
    return function
