"""Who reads which TCP flow."""

from __future__ import annotations

from collections.abc import Iterable

from nfqdpi.core.classifier import Classifier, Classify


class Readers:
    """Classifiers by the server's port: ``by_port`` has the ports that are some classifier's own, and all that are
    asked about flows to them; ``anywhere`` are those for every other. ``lacking``: one that should read is left out."""

    def __init__(self) -> None:
        self.use(())

    def use(self, classifiers: Iterable[Classifier], *, lacking: bool = False) -> None:
        """From the next flow on these read."""
        classifiers = tuple(classifiers)
        self.anywhere = tuple(c.bounded for c in classifiers if c.elsewhere)
        self.by_port: dict[int, tuple[Classify, ...]] = {
            port: tuple(c.bounded for c in classifiers if c.elsewhere or port in c.ports)
            for one in classifiers if not one.elsewhere for port in one.ports}
        self.lacking = lacking

    def of(self, port: int) -> tuple[Classify, ...]:
        """Those of flows to a port."""
        return self.by_port.get(port, self.anywhere)
