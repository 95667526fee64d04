"""Flows that hide their names, through a real gateway; ten thousand of them: python -m tests.soak.hidden."""

from __future__ import annotations

from nfqdpi.lab.network import Lab
from tests.soak import hidden


def test_flows_that_hide_their_names(lab: Lab) -> None:
    """TLS without a server name has the name that its client had asked DNS for, though every address has several and
    another worker saw the question; none has a name that another client asked for."""
    flows = hidden.CLIENTS * 8
    result, counters = hidden.run(lab, flows)
    assert result.wrong == 0, result
    assert result.named >= hidden.LEAST * flows, result
    assert counters["names_found"] >= result.named
