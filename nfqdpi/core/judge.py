"""What the policy, the exceptions and earlier answers of DNS say of a unit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Final, Protocol

from nfqdpi.core.asking import Asked, Asking
from nfqdpi.core.classifier import Classification, Known
from nfqdpi.core.decision import Client, Outcome, Policy
from nfqdpi.core.plugin import Advice, Adviser
from nfqdpi.core.verdict import Reason, Verdict

_NOTHING_ASKED: Final = Outcome(Verdict.ACCELERATE, Reason.DEFAULT)
_ASKED: Final = Outcome(Verdict.INSPECT, Reason.ADVICE)


# The order of advice.
_STRICT = {Verdict.ACCELERATE: 0, Verdict.INSPECT: 1, Verdict.BLOCK: 2, Verdict.BLOCK_SILENT: 2}


class KnownNames(Protocol):
    """The names that clients have been given addresses for."""

    def learn(self, client: bytes, known: Known, now: float) -> None:
        """A client was told an address."""
        ...

    def names(self, client: bytes, server: bytes, now: float) -> tuple[str, ...]:
        """What the client asked for when it was given that address, the latest first."""
        ...


class Judge:
    """``policy`` may be another from one packet to the next: see ``govern``. ``known``: None where no DNS is seen."""

    def __init__(self, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> None:
        self.policy = policy
        self.exceptions = exceptions
        self.known: KnownNames | None = None
        self.advisers: tuple[Adviser, ...] = ()  # those that answer at once
        self.asking = Asking()

    def govern(self, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> None:
        """From now on another policy speaks."""
        self.policy, self.exceptions = policy, exceptions

    def exception(self, reason: Reason) -> Outcome:
        """What becomes of a flow that cannot be decided."""
        return Outcome(self.exceptions.get(reason, Verdict.ACCELERATE), reason)

    def ask(self, names: tuple[str, ...], nameless: Reason, client: Client, protocol: str = "") -> Outcome:
        """The policy's word on all names of a unit: any that is blocked blocks, else any that is redirected is.
        ``nameless``: why there is none."""
        if len(names) == 1:
            return self.policy.decide(names[0], client, protocol)
        if not names:
            outcome = self.policy.decide(None, client, protocol)
            return outcome if outcome.rule is not None else Outcome(self.exceptions[nameless], nameless)
        outcomes = [self.policy.decide(name, client, protocol) for name in names]
        redirected = next((one for one in outcomes if one.redirect), outcomes[0])
        return next((one for one in outcomes if one.verdict.blocks), redirected)

    def advised(self, found: Classification, outcome: Outcome, client: Client, server: bytes
                ) -> tuple[Classification, Outcome]:
        """The unit and what becomes of it once those advisers were heard that answer at once."""
        if outcome.verdict.blocks:
            return found, outcome
        return _weighed(found, outcome, ((one.name, one.advise(found, client.address, server))
                                         for one in self.advisers))

    def heard(self, asked: Asked, found: Classification, outcome: Outcome) -> tuple[Classification, Outcome]:
        """The same by what slow advisers have said. For one that has not, the exceptions speak."""
        found, outcome = _weighed(found, outcome, asked.heard)
        if not asked.failed or outcome.verdict.blocks:
            return found, outcome
        instead = self.exception(Reason.PLUGIN_ERROR).verdict
        return found, Outcome(max(outcome.verdict, instead, key=_STRICT.__getitem__), Reason.PLUGIN_ERROR)

    def late(self, asked: Asked, client: Client) -> tuple[Classification, Outcome]:
        """The same of a unit that has passed. Should the policy be another by now, the stricter counts."""
        found, outcome = asked.unit, asked.outcome
        if asked.revision is not self.policy.revision:
            now = self.ask(found.names, Reason.NO_NAME, client, found.protocol)
            outcome = max(outcome, now, key=lambda one: _STRICT[one.verdict])
        return (found, outcome) if outcome.verdict.blocks else self.heard(asked, found, outcome)

    def meanwhile(self, asked: Asked, found: Classification, outcome: Outcome) -> tuple[Classification, Outcome]:
        """What is told of a unit that passes before all are heard."""
        asked.judge(found, outcome, self.policy.revision)
        if not asked.until or outcome.verdict is not Verdict.ACCELERATE:
            return found, outcome
        note = f"{', '.join(asked.until)}: asked"
        return replace(found, attributes={**found.attributes, "advice": note}), _ASKED

    def lookup(self, names: tuple[str, ...], client: Client, protocol: str) -> Outcome:
        """As ``ask``, of a message of DNS: one without a name but the root's leads nowhere, and passes."""
        return self.ask(names, Reason.NO_NAME, client, protocol) if names else _NOTHING_ASKED

    def learn(self, client: Client, answers: tuple[Known, ...], now: float) -> None:
        """Keep what an answer of DNS has told a client."""
        if self.known is not None:
            for known in answers:
                self.known.learn(client.address, known, now)

    def named(self, found: Classification, client: Client, server: bytes, now: float) -> Classification:
        """The unit with what DNS knows of its server: a name where it has none of its own, or hides it; and a note
        where it has one that the client was not told this address for."""
        if self.known is None or not (told := self.known.names(client.address, server, now)):
            return found
        if not found.names or found.veiled:
            if told[0] in found.names:
                return found  # it hides nothing
            return replace(found, names=(*found.names, told[0]), attributes={**found.attributes, "dns": told[0]})
        if set(found.names).isdisjoint(told):
            return replace(found, attributes={**found.attributes, "sni_mismatch": told[0]})
        return found

    def suspicion(self, found: Classification) -> Reason | None:
        """Why a unit whose names are allowed is not to be believed, where the exceptions want that to count."""
        if found.veiled and Reason.ECH in self.exceptions:
            return Reason.ECH
        if Reason.SNI_MISMATCH in self.exceptions and "sni_mismatch" in found.attributes:
            return Reason.SNI_MISMATCH
        return None


def _weighed(found: Classification, outcome: Outcome, words: Iterable[tuple[str, Advice | None]]
             ) -> tuple[Classification, Outcome]:
    """The strictest counts. Who has changed something is noted."""
    for name, advice in words:
        if advice is not None and _STRICT[advice.verdict] > _STRICT[outcome.verdict]:
            found = replace(found, attributes={**found.attributes, "advice": f"{name}: {advice.why}"})
            outcome = Outcome(advice.verdict, Reason.ADVICE)
    return found, outcome
