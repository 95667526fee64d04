"""What is decided about a flow, why, and how the conntrack mark carries it."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from typing import Final


class Verdict(IntEnum):
    """The state of a flow: the value of our field in its conntrack mark (OpenSync's values for the first four)."""

    UNSEEN = 0
    INSPECT = 1
    ACCELERATE = 2
    BLOCK = 3
    CONFIRM = 4
    BLOCK_SILENT = 5

    @property
    def blocks(self) -> bool:
        """True where the kernel lets no further packet of the flow by."""
        return self in (Verdict.BLOCK, Verdict.BLOCK_SILENT)


FINAL: Final = frozenset((Verdict.ACCELERATE, Verdict.BLOCK, Verdict.BLOCK_SILENT))  # no packet is queued any more

_STATES: Final = tuple(Verdict)  # by their value


class Reason(StrEnum):
    """Why a packet or a flow was decided as it was; the ``verdict.reason`` of an event."""

    RULE = "rule"
    DEFAULT = "default"
    NEED_MORE = "need_more"
    CONFIRMED = "confirmed"
    NO_NAME = "no_name"
    UNKNOWN_PROTOCOL = "unknown_protocol"
    ADVICE = "advice"
    MIDSTREAM = "midstream"
    ECH = "ech"
    SNI_MISMATCH = "sni_mismatch"
    MALFORMED = "malformed"
    OVERLAP = "overlap"
    OUT_OF_WINDOW = "out_of_window"
    TOO_BIG = "too_big"
    TIMEOUT = "timeout"
    TRUNCATED = "truncated"
    PLUGIN_ERROR = "plugin_error"


@dataclass(frozen=True, slots=True)
class MarkField:
    """The bits of a 32-bit mark that are ours. Reads and writes leave every other bit as it was.

    ``mask`` must be one run of at least three set bits (the states are 0 to 5); anything else raises ValueError.
    """

    mask: int = 0x0000000F
    shift: int = field(init=False, repr=False, compare=False)  # the position of the field's lowest bit

    def __post_init__(self) -> None:
        object.__setattr__(self, "shift", (self.mask & -self.mask).bit_length() - 1)
        run = self.mask >> self.shift if self.mask > 0 else 0
        if not 0 < self.mask <= 0xFFFFFFFF or run & (run + 1) or run < max(Verdict):
            raise ValueError(f"mark mask {self.mask:#x} is not one run of at least 3 bits within 32")

    def value(self, verdict: Verdict) -> int:
        """The verdict in place, all other bits 0."""
        value: int = verdict  # int() makes a number, which costs more than all the rest
        return value << self.shift

    def read(self, mark: int) -> Verdict:
        """The state that a mark holds; a value that is none of ours reads as UNSEEN."""
        value = (mark & self.mask) >> self.shift
        return _STATES[value] if value < len(_STATES) else Verdict.UNSEEN

    def write(self, mark: int, verdict: Verdict) -> int:
        """The mark with our field set to the verdict."""
        return (mark & ~self.mask & 0xFFFFFFFF) | self.value(verdict)
