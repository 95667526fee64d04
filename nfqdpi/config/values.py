"""The kinds of values that keys have, beside plain numbers and words."""

from __future__ import annotations

import ipaddress
import re
from typing import Annotated, ClassVar, Literal, Self
from urllib.parse import urlsplit

from msgspec import Meta

from nfqdpi.policy.names import Pattern
from nfqdpi.policy.schedule import Window

Exception_ = Literal["accelerate", "block"]
Port = Annotated[int, Meta(ge=1, le=65535)]
# IFNAMSIZ less the NUL; it goes into firewall rules, where a last + matches any ending.
Interface = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.@+][A-Za-z0-9_.@+-]{0,14}\Z")]
FilePath = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z")]
UserName = Annotated[str, Meta(pattern=r"\A[A-Za-z0-9_.-]{0,32}\Z")]  # a group's, too
SocketPath = Annotated[str, Meta(pattern=r"\A[^\x00]*\Z", max_length=107)]  # unix(7): 108 bytes with the NUL


def check_url(url: str) -> None:
    """Raises ValueError, in words fit for the operator, where a URL names no host or port that can be asked."""
    parts = urlsplit(url)
    if not parts.hostname or parts.port == 0:
        raise ValueError("no host, or no port, that could be asked")


class Duration(float):
    """Seconds, written as "250ms", "30s", "10m", "2h" or "1d"."""

    _UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}  # noqa: RUF012  never changed
    _LONGEST = 36500 * 86400.0  # a hundred years: what ends later has no date

    @classmethod
    def parse(cls, value: object) -> Duration:
        match = re.fullmatch(r"([0-9]{1,12}(?:\.[0-9]{1,12})?)(ms|s|m|h|d)", value) if isinstance(value, str) else None
        seconds = float(match[1]) * cls._UNITS[match[2]] if match else 0.0
        if not 0 < seconds <= cls._LONGEST:
            raise ValueError('expected a duration above 0 such as "250ms", "30s", "10m" or "2h", and at most 36500d')
        return cls(seconds)

    def __str__(self) -> str:
        return f"{float(self):g}s"


class _Text(str):
    """A string of a form of its own. ``_read`` gives it as it is kept, and raises ValueError in words fit for the
    operator; of its own it keeps what was written."""

    __slots__ = ()
    _expected: ClassVar[str]

    @classmethod
    def parse(cls, value: object) -> Self:
        if not isinstance(value, str):
            raise ValueError(f"expected {cls._expected}")  # noqa: TRY004  reported as a config problem
        return cls(cls._read(value))

    @classmethod
    def _read(cls, text: str) -> str:
        return text


class Member(_Text):
    """Who belongs to a group: an address, a CIDR or a MAC address in canonical form, or a client's name."""

    __slots__ = ()
    _expected = "an address, a CIDR, a MAC address or a name"

    @classmethod
    def _read(cls, text: str) -> str:
        if re.fullmatch(r"[0-9A-Fa-f]{2}([:-][0-9A-Fa-f]{2}){5}", text):
            return text.lower().replace("-", ":")
        if re.fullmatch(r"[0-9.]+(/.*)?|[^/]*:.*", text):
            return str(ipaddress.ip_network(text))
        if not re.fullmatch(r"[\w.-]{1,253}", text):
            raise ValueError(f"{text!r} is no address, CIDR, MAC address or name")
        return text.lower()


class Address(_Text):
    """An IPv4 or IPv6 address in canonical form."""

    __slots__ = ()
    _expected = "an address"

    @classmethod
    def _read(cls, text: str) -> str:
        return str(ipaddress.ip_address(text))


class Domain(_Text):
    """A domain pattern, as it was written."""

    __slots__ = ()
    _expected = "a domain pattern as a string"

    @classmethod
    def _read(cls, text: str) -> str:
        Pattern.parse(text)
        return super()._read(text)


class Times(_Text):
    """A schedule's window, as it was written."""

    __slots__ = ()
    _expected = 'a window such as "mon-fri 21:00-07:00"'

    @classmethod
    def _read(cls, text: str) -> str:
        Window.parse(text)
        return super()._read(text)


class TimeZone(_Text):
    """A time zone's name, "Europe/Berlin"; "" is the system's."""

    __slots__ = ()
    _expected = 'a time zone such as "Europe/Berlin"'

    @classmethod
    def _read(cls, text: str) -> str:
        if not text:
            return text
        from zoneinfo import ZoneInfo  # for those who name one

        try:
            ZoneInfo(text)
        except (ValueError, OSError):
            raise ValueError(f"{text!r} is no time zone such as \"Europe/Berlin\"") from None
        except KeyError:  # ZoneInfoNotFoundError
            raise ValueError(f"no time zone is named {text!r}") from None
        return text


class SyslogTarget(_Text):
    """A unix socket's path, or "udp://HOST[:PORT]"; "" is none."""

    __slots__ = ()
    _expected = 'a socket such as "/dev/log", or "udp://HOST[:PORT]"'

    @classmethod
    def _read(cls, text: str) -> str:
        unix = r"/[^\x00]{1,106}"  # unix(7): 108 bytes with the NUL
        udp = r"udp://([\w.-]+|\[[0-9A-Fa-f:.]+\])(?::([0-9]{1,5}))?"
        found = re.fullmatch(rf"|{unix}|{udp}", text)
        if found is None or int(found[2] or 1) not in range(1, 65536):
            raise ValueError(f"expected {cls._expected}")
        return text


class Listen(_Text):
    """An address and a port to listen on, "127.0.0.1:9477" or "[::1]:9477"; "" is none."""

    __slots__ = ()
    _expected = 'an address and a port such as "127.0.0.1:9477" or "[::1]:9477"'

    @classmethod
    def _read(cls, text: str) -> str:
        found = re.fullmatch(r"|(?:([0-9.]+)|\[([^]]+)\]):([0-9]{1,5})", text)
        if found is None or int(found[3] or 1) not in range(1, 65536):
            raise ValueError(f"expected {cls._expected}")
        if found[3]:
            ipaddress.IPv4Address(found[1]) if found[1] else ipaddress.IPv6Address(found[2])
        return text

    @property
    def place(self) -> tuple[str, int]:
        """Address and port."""
        address, _, port = self.rpartition(":")
        return address.strip("[]"), int(port)
