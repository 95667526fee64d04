"""Registrable domains: a public suffix and one label more, as in ``example.co.uk`` (publicsuffix.org)."""

from __future__ import annotations

from functools import cache, lru_cache
from typing import TYPE_CHECKING

from nfqdpi.policy.names import canonical

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList

_REMEMBERED = 4096  # names; a look-up in the list costs 3 us


@lru_cache(maxsize=_REMEMBERED)
def registrable(name: str) -> str:
    """The name under which this one was registered; an address, a public suffix itself, and what is below no public
    suffix are themselves. Never raises."""
    name = canonical(name)
    return _suffixes().privatesuffix(name) or name


@cache
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList  # it takes 75 ms and 5 MB, which no worker has to spare

    return PublicSuffixList(accept_unknown=False)
