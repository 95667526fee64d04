"""One line of a list to the names that it covers; each format has its function."""

from __future__ import annotations

import re
from collections.abc import Callable
from ipaddress import ip_address

from nfqdpi.policy.names import Kind, Pattern, substring

Entry = tuple[Kind, str, bool]  # what is covered, the name in canonical form, True: an exception
Dialect = Callable[[str], tuple[Entry, ...]]  # () of a line that says nothing; ValueError, with why, of a bad one

# Most names of most lists: of more than one label, the last no number. Whatever else is a name takes the longer way.
PLAIN_NAME = r"(?!localhost)(?:[A-Za-z0-9_-]{1,63}\.)+[A-Za-z][A-Za-z0-9-]{0,62}"

_LONGEST = 1024  # characters of a name as it is written, of which an A-label has at most 253

# What hosts files say of the machine itself; `0.0.0.0 0.0.0.0` is a customary line, too.
_OWN = frozenset(("localhost", "localhost.localdomain", "localhost4", "localhost4.localdomain4", "localhost6",
                  "localhost6.localdomain6", "local", "localdomain", "broadcasthost", "ip6-localhost", "ip6-loopback",
                  "ip6-localnet", "ip6-mcastprefix", "ip6-allnodes", "ip6-allrouters", "ip6-allhosts", "0.0.0.0"))  # noqa: S104  a name here

COSMETIC = r"\S*(?:#@?[$?%]{0,2}#|\$@?\$)"  # ##, #@#, #?#, #$#, #%# and their exceptions; $$ (HTML)
_WIDE = frozenset(("", "all", "important"))
_DNSMASQ = re.compile(r"(address|server|local)\s*=\s*/(.*)/([^/]*)")


def name(written: str) -> str:
    """In canonical form. An address is a name, too: it is what Host says."""
    if len(written) <= _LONGEST:
        try:
            return Pattern.parse(f"={written}").text
        except ValueError:
            pass
    raise ValueError(f"{_short(written)!r} is no domain name")


def sink(address: str) -> bool | None:
    """True of an address that leads nowhere (0.0.0.0, 127.0.0.0/8, ::, ::1); None where it is no address at all."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return None
    return parsed.is_unspecified or parsed.is_loopback


def hosts(line: str) -> tuple[Entry, ...]:
    """``0.0.0.0 a.example b.example``: these names alone. A line that leads a name somewhere blocks nothing."""
    words = line.partition("#")[0].split()
    if not words:
        return ()
    leads_nowhere = sink(words[0])
    if leads_nowhere is None:
        raise ValueError("no address stands in front")
    if len(words) == 1:
        raise ValueError("an address without a name")
    names = [word for word in words[1:] if word.lower() not in _OWN]
    if names and not leads_nowhere:
        raise ValueError(f"it gives an address to a name ({words[0]}), which blocks nothing")
    return tuple((Kind.EXACT, name(word), False) for word in names)


def domains(line: str) -> tuple[Entry, ...]:
    """``a.example``: that name alone; ``*.a.example`` and ``.a.example``: with all below."""
    return _domain(line, Kind.EXACT)


def wildcard(line: str) -> tuple[Entry, ...]:
    """``*.a.example``, and ``a.example``: the name and all below it."""
    return _domain(line, Kind.TREE)


def _domain(line: str, bare: Kind) -> tuple[Entry, ...]:
    words = line.partition("#")[0].split()
    if not words or words[0].lower() in _OWN:
        return ()
    if len(words) > 1:
        raise ValueError("more than a name")
    if word := substring(words[0]):
        return ((Kind.SUBSTRING, word, False),)
    text = words[0].removeprefix("*").removeprefix(".")
    kind = bare if text == words[0] else Kind.TREE
    if kind is Kind.EXACT and "." not in text and ":" not in text:
        raise ValueError("a word without a dot")
    return ((kind, name(text), False),)


def adblock(line: str) -> tuple[Entry, ...]:
    """``||x^``: the name and all below; ``|x^`` and ``x``: that name alone; ``||*.x^``: what is below; ``*word*``;
    ``@@`` in front: an exception. Lines of hosts files are taken, as AdGuard Home does. ``$important`` is read over:
    an exception wins all the same."""
    rule = line.strip()
    if not rule or re.match(COSMETIC, rule):
        return ()
    exception = rule.startswith("@@")
    pattern, _, modifiers = rule.removeprefix("@@").partition("$")
    for modifier in modifiers.split(","):
        if modifier not in _WIDE:
            raise ValueError(f"${_short(modifier.partition('=')[0])} narrows or changes the rule")
    if any(c.isspace() for c in pattern) and not exception:
        return hosts(pattern)
    if "/" in pattern:
        raise ValueError("it looks at more than the name")
    if word := substring(pattern):
        return ((Kind.SUBSTRING, word, exception),)
    if not pattern or pattern[0] in "*.-" or pattern[-1] in ".-":  # the last: a part of an address, "-ad."
        raise ValueError("neither ||name^ nor a name")
    if not pattern.startswith("|"):
        return tuple((kind, text, exception) for kind, text, _ in _domain(pattern, Kind.EXACT))
    kind, text = _anchored(pattern)
    return ((kind, name(text), exception),)


def _anchored(pattern: str) -> tuple[Kind, str]:
    text = pattern.removesuffix("|")
    if not text.endswith("^"):
        raise ValueError("no ^ behind the name: it covers all that begins so")
    if not text.startswith("||"):
        return Kind.EXACT, text[1:-1]
    if text.startswith("||*."):
        return Kind.BELOW, text[4:-1]
    return Kind.TREE, text[2:-1]


def dnsmasq(line: str) -> tuple[Entry, ...]:
    """``address=/x/``, ``address=/x/0.0.0.0``, ``server=/x/``, ``local=/x/``: the name and all below; also several
    names, ``address=/x/y/``."""
    option = re.split(r"(?:^|\s)#", line, maxsplit=1)[0].strip()
    if not option:
        return ()
    match = _DNSMASQ.fullmatch(option)
    if match is None:
        raise ValueError("neither address=/name/ nor server=/name/ nor local=/name/")
    key, names, value = match.groups()
    if key == "address" and value not in ("", "#") and not sink(value):
        raise ValueError(f"it answers with {_short(value)}, which blocks nothing")
    if key != "address" and value:
        raise ValueError(f"it asks {_short(value)}, which blocks nothing")
    return tuple((Kind.TREE, name(text.removeprefix(".")), False) for text in names.split("/"))


def _short(text: str) -> str:
    return text if len(text) <= 60 else f"{text[:60]}…"
