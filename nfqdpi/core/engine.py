"""A packet's bytes and ``now`` in, one Decision out. The same engine serves the live queue and a capture file.

Order of reading: ``process`` parses, ``Segments`` finds a packet's flow and puts its bytes on record, ``Reading`` asks
the classifiers what they are, ``Deciding`` asks the policy, and waits for the server to prove that it got what was
judged. ``Datagrams`` does all that for UDP. E1 to E13 are the invariants of strict mode.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Final, assert_never

from nfqdpi.core.asking import Asked
from nfqdpi.core.classifier import Classifier, DatagramClassifier
from nfqdpi.core.datagrams import Datagrams
from nfqdpi.core.decision import Action, Client, Decision, Judgement, Limits, Path, Policy
from nfqdpi.core.judge import Judge, KnownNames
from nfqdpi.core.packet import TCP, Datagram, FlowKey, Segment, Unreadable, parse
from nfqdpi.core.plugin import Adviser
from nfqdpi.core.segments import Segments
from nfqdpi.core.units import UnitTable
from nfqdpi.core.verdict import Reason, Verdict

_ANYWHERE: Final = Path()


class Engine:
    """Decides flows. Not thread-safe: one engine a worker."""

    def __init__(  # noqa: PLR0913  each is one setting, most with a default
        self, classifiers: Iterable[Classifier | DatagramClassifier | Adviser], policy: Policy,
        exceptions: Mapping[Reason, Verdict], *, limits: Limits | None = None, strict: bool = True,
        simulate: Reason | None = None, known: KnownNames | None = None, units: UnitTable | None = None,
    ) -> None:
        self.judge = Judge(policy, exceptions)
        self._known = known
        self.strict = strict
        self.limits = limits or Limits()
        self.segments = Segments(self.judge, self.limits, strict=strict, simulate=simulate)
        self.flows = self.segments.flows
        self.datagrams = Datagrams((), self.judge, self.limits, units, strict=strict)
        self.use(classifiers)

    def process(self, packet: bytes, now: float, path: Path = _ANYWHERE, state: Verdict = Verdict.UNSEEN) -> Decision:
        """Decide one packet, IP header first. ``state``: what the flow's mark said when it was queued. Raises only what
        a classifier raises: see ``give_up``."""
        match parse(packet):
            case Segment() as segment:
                return self.segments.process(segment, now, path, state)
            case Datagram() as datagram:
                return self.datagrams.process(datagram, now, path, state)
            case Unreadable(reason):
                return self._except(None, reason, now)  # E10: nobody knows what a server would make of it
            case other:
                assert_never(other)

    def govern(self, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> None:
        """From the next packet on another policy decides."""
        self.judge.govern(policy, exceptions)

    def use(self, classifiers: Iterable[Classifier | DatagramClassifier | Adviser], *, lacking: bool = False,
            unadvised: bool = False) -> None:
        """From the next flow on these read. ``lacking``: one that should is left out, so what nobody knows may be its:
        that is treated as ``plugin_error`` says. ``unadvised``: so is a slow adviser, and every unit is its."""
        classifiers = tuple(classifiers)
        datagrams = [c for c in classifiers if isinstance(c, DatagramClassifier)]
        self.datagrams.use(datagrams, lacking=lacking)
        # Where no answers are seen any more, those that were are of no use.
        self.judge.known = self._known if any(c.both for c in datagrams) else None
        advisers = [c for c in classifiers if isinstance(c, Adviser)]
        self.judge.advisers = tuple(one for one in advisers if one.slow is None)
        self.judge.asking.use(advisers, lacking=unadvised)
        self.segments.use([c for c in classifiers if isinstance(c, Classifier)], lacking=lacking)

    def overflow(self, now: float) -> None:
        """A queue that fails open may have been full: packets have passed that we do not know of."""
        self.segments.overflow(now)

    def give_up(self, packet: bytes, now: float) -> Decision:
        """Deciding the packet raised: the flow is treated as ``plugin_error`` says. Never raises."""
        parsed = parse(packet)
        if isinstance(parsed, Unreadable):
            return self._except(None, Reason.PLUGIN_ERROR, now)
        half = self.datagrams if isinstance(parsed, Datagram) else self.segments
        return half.give_up(parsed.key, now) or self._except(parsed.key, Reason.PLUGIN_ERROR, now)

    def late(self, asked: Asked, now: float) -> Decision | None:
        """What becomes of a flow, by its mark and at once, that has passed before the slow advisers answered, now that
        they have. None: nothing does."""
        return (self.segments if asked.key.proto == TCP else self.datagrams).late(asked, now)

    def _except(self, key: FlowKey | None, reason: Reason, now: float) -> Decision:
        """A packet of no flow that is known cannot be decided: the exception policy does it."""
        outcome = self.judge.exception(reason)
        told = (Judgement(key, Client(key.src), outcome, None, 1, now),) if key is not None else ()
        return Decision(outcome.verdict, Action.MARK, reason, told)
