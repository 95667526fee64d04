"""Well-behaved clients over a bad link: nobody is hurt, and what is blocked stays blocked."""

from __future__ import annotations

import os
from typing import Literal

import pytest

from nfqdpi.lab.cases import NAMES
from nfqdpi.lab.daemon import daemon
from nfqdpi.lab.link import Trouble
from nfqdpi.lab.network import Lab
from nfqdpi.lab.web import WebServer
from tests.kernel.daily import config
from tests.soak import crowd

TROUBLE = Trouble(loss=0.05, duplicate=0.05, reorder=0.05)
VISITS = 120  # of each program


@pytest.mark.parametrize("where", ["lan", "wan"])
def test_nobody_is_hurt(where: Literal["lan", "wan"]) -> None:
    """Of some hundred parallel visits on both families, over a link before the gateway or behind it that loses,
    doubles and reorders 5 %, each ends as its name deserves; no event, no server and no client says otherwise."""
    links = (TROUBLE, None) if where == "lan" else (None, TROUBLE)
    with Lab(f"nfqdpi-lab-test{os.getpid()}", lan=links[0], wan=links[1]) as lab:
        web = WebServer(lab.server, lab.state / "web", NAMES)
        with daemon(lab, config(lab)):
            for way in ("curl", "openssl", "keep-alive", "python"):
                tally = crowd.send(lab, web.ca, way, range(VISITS))
                assert tally.wrong == []
                assert tally.ends == {"allowed.example ok": VISITS * 9 // 10, "blocked.example reset": VISITS // 10}
        assert crowd.wrongly_blocked(lab) == []
        assert crowd.got_through(web) == []
