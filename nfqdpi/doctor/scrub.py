"""Takes names and addresses out of a text, each for the same stand-in wherever it is."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Iterable
from hashlib import blake2b
from ipaddress import ip_address

_DIGITS = 10  # of a stand-in: 40 bits; who guesses a name cannot check the guess, not knowing the salt

_MAC = re.compile(r"(?<![0-9A-Fa-f:-])[0-9A-Fa-f]{2}(?:[:-][0-9A-Fa-f]{2}){5}(?![0-9A-Fa-f:-])")
_IPV4 = re.compile(r"(?<![\w.])(?:[0-9]{1,3}\.){3}[0-9]{1,3}(?!\.?\w)")
_IPV6 = re.compile(r"(?<![\w:.])(?=[0-9A-Fa-f]*:[0-9A-Fa-f]*:)"
                   r"(?:[0-9A-Fa-f:]+:(?:[0-9]{1,3}\.){3}[0-9]{1,3}|[0-9A-Fa-f:]+)(?![\w:])")
_NAME = re.compile(r"(?<![\w.-])(?:[\w-]+\.)+(?:[^\W\d_]{2,}|xn--[\w-]+)\.?(?![\w.-])")
# What looks like a name and is a file or a setting of ours. Anything else that looks like one, goes: .py and .so are
# countries, too.
_FILES = frozenset(("toml", "json", "sock", "sqlite", "gz", "log", "conf", "rules"))


class Scrubber:
    """``words``: what must go besides addresses and host names, such as names of rules, clients and lists."""

    def __init__(self, words: Iterable[str] = ()) -> None:
        self._salt = secrets.token_bytes(32)
        wanted = sorted({word for word in words if word}, key=len, reverse=True)
        self._words = re.compile("|".join(rf"(?<!\w){re.escape(word)}(?!\w)" for word in wanted) or r"(?!)",
                                 re.IGNORECASE)

    def __call__(self, text: str) -> str:
        """The text without them. A stand-in tells what it stands for, and nothing more: name-0123456789."""
        text = self._words.sub(lambda found: self.stand_in("word", found[0]), text)
        text = _MAC.sub(lambda found: self.stand_in("mac", found[0].replace("-", ":")), text)
        for addresses in (_IPV6, _IPV4):
            text = addresses.sub(self._address, text)
        return _NAME.sub(self._name, text)

    def stand_in(self, kind: str, secret: str) -> str:
        """For a secret of this kind; upper and lower case, and a dot at the end, are the same."""
        told = hmac.new(self._salt, secret.lower().rstrip(".").encode(errors="replace"), blake2b).hexdigest()
        return f"{kind}-{told[:_DIGITS]}"

    def _address(self, found: re.Match[str]) -> str:
        try:
            address = ip_address(found[0])
        except ValueError:
            return found[0]
        if address.is_unspecified or address.is_loopback or found[0].startswith("255."):
            return found[0]  # nobody's, or a mask
        return self.stand_in(f"ipv{address.version}", str(address))

    def _name(self, found: re.Match[str]) -> str:
        last = found[0].rstrip(".").rpartition(".")[2].lower()
        return found[0] if last in _FILES else self.stand_in("name", found[0])
