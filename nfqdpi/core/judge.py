"""What the policy, the exceptions and earlier answers of DNS say of a unit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Final, Protocol

from nfqdpi.core.classifier import Classification, Known
from nfqdpi.core.decision import Client, Outcome, Policy
from nfqdpi.core.plugin import Adviser
from nfqdpi.core.verdict import Reason, Verdict

_NOTHING_ASKED: Final = Outcome(Verdict.ACCELERATE, Reason.DEFAULT)


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
        self.advisers: tuple[Adviser, ...] = ()

    def govern(self, policy: Policy, exceptions: Mapping[Reason, Verdict]) -> None:
        """From now on another policy speaks."""
        self.policy, self.exceptions = policy, exceptions

    def exception(self, reason: Reason) -> Outcome:
        """What becomes of a flow that cannot be decided."""
        return Outcome(self.exceptions.get(reason, Verdict.ACCELERATE), reason)

    def ask(self, names: tuple[str, ...], nameless: Reason, client: Client, protocol: str = "") -> Outcome:
        """The policy's word on all names of a unit: any that is blocked blocks, else any that is redirected is.
        ``nameless``: why there is none."""
        if not names:
            ruling = self.policy.decide(None, client, protocol)
            if ruling.rule is None:
                return Outcome(self.exceptions[nameless], nameless)
        else:
            rulings = [self.policy.decide(name, client, protocol) for name in names]
            redirected = next((r for r in rulings if r.redirect), rulings[0])
            ruling = next((r for r in rulings if r.verdict.blocks), redirected)
        reason = Reason.DEFAULT if ruling.rule is None else Reason.RULE
        return Outcome(ruling.verdict, reason, ruling.rule, ruling.list, ruling.redirect)

    def advised(self, found: Classification, outcome: Outcome, client: Client, server: bytes
                ) -> tuple[Classification, Outcome]:
        """The unit and what becomes of it once the advisers were heard. Who has changed something is noted."""
        verdict = outcome.verdict
        if verdict.blocks:
            return found, outcome
        for adviser in self.advisers:
            advice = adviser.advise(found, client.address, server)
            if advice is None or _STRICT[advice.verdict] <= _STRICT[verdict]:
                continue
            verdict = advice.verdict
            found = replace(found, attributes={**found.attributes, "advice": f"{adviser.name}: {advice.why}"})
            outcome = Outcome(verdict, Reason.ADVICE)
        return found, outcome

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
