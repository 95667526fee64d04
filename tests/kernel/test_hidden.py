"""Flows that hide their names, through a real gateway; ten thousand of them: python -m tests.soak.hidden."""

from __future__ import annotations

import json
import socket
import ssl

import pytest

from nfqdpi.lab.network import CLIENT, Lab
from nfqdpi.lab.resolver import REAL, Resolver
from nfqdpi.lab.web import WebServer
from tests.kernel.daily import Gateway, wait_until
from tests.kernel.test_dns import dig, dns
from tests.soak import hidden


def test_flows_that_hide_their_names(lab: Lab) -> None:
    """TLS without a server name has the name that its client had asked DNS for, though every address has several and
    another worker saw the question; none has a name that another client asked for."""
    flows = hidden.CLIENTS * 8
    result, counters = hidden.run(lab, flows)
    assert result.wrong == 0, result
    assert result.named >= hidden.LEAST * flows, result
    assert counters["names_found"] >= result.named


def visit(lab: Lab, name: str) -> str:
    """Open TLS to the address that DNS gives for allowed.example, and say another name, perhaps."""
    with lab.client.entered():
        plain = socket.create_connection((REAL[4], 443), 5, (CLIENT[4], 0))
    anybody = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    anybody.check_hostname, anybody.verify_mode = False, ssl.CERT_NONE
    try:
        with anybody.wrap_socket(plain, server_hostname=name):
            return "ok"
    except ConnectionResetError:
        return "reset"


@pytest.mark.parametrize(("fail", "answer"), [("", "ok"), ('sni_mismatch = "block"\n', "reset")])
def test_a_name_that_the_address_was_not_given_for(lab: Lab, gateway: Gateway, web: WebServer, fail: str,
                                                   answer: str) -> None:
    """It is told of, and blocked where that is wanted; the name that was asked for is neither."""
    lab.server.configure(f"addr add {REAL[4]}/24 dev eth0")
    gateway(dns(lab).replace("[fail]\n", f"[fail]\n{fail}"))
    with Resolver(lab.server, lab.state / "resolver"):
        assert visit(lab, "early.example") == "ok"  # nobody has asked yet
        assert dig(lab, 4, "allowed.example", "A")[0].answers == [REAL[4]]
        assert [visit(lab, "allowed.example"), visit(lab, "another.example")] == ["ok", answer]
    events = (lab.state / "eve.json").read_text
    assert wait_until(lambda: "another.example" in events(), 5)
    told = {event["tls"]["sni"]: event.get("sni_mismatch") for event in map(json.loads, events().splitlines())
            if "tls" in event}
    assert told == {"early.example": None, "allowed.example": None, "another.example": "allowed.example"}
