"""A worker's turns on the CPU, as the kernel shows them."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

_ASK = "from nfqdpi.kernel.slice import be_prompt; be_prompt(); print(open('/proc/self/sched').read())"


@pytest.mark.skipif("se.slice" not in Path("/proc/self/sched").read_text(),
                    reason="a kernel before 6.12 has no such turns: asking is without effect, and nothing to be seen")
def test_turns_are_short() -> None:
    """A tenth of a millisecond, whoever else's are longer; the policy and the share of the CPU are as they were."""
    shown = subprocess.run([sys.executable, "-c", _ASK], check=True, capture_output=True, text=True).stdout
    values = dict(re.findall(r"^([\w.]+)\s*:\s*(\d+)$", shown, re.MULTILINE))
    assert (values["se.slice"], values["policy"], values["prio"]) == ("100000", "0", str(120 + os.nice(0)))


@pytest.mark.parametrize(("policy", "nice"), [(os.SCHED_OTHER, 5), (os.SCHED_OTHER, -5), (os.SCHED_BATCH, 5),
                                              (os.SCHED_IDLE, 0)])
def test_who_has_another_share_keeps_it(policy: int, nice: int) -> None:
    """As systemd's Nice= and CPUSchedulingPolicy= give it."""
    given = (f"import os; os.setpriority(os.PRIO_PROCESS, 0, {nice}); "
             f"os.sched_setscheduler(0, {policy}, os.sched_param(0)); ")
    left = "; print(os.sched_getscheduler(0), os.getpriority(os.PRIO_PROCESS, 0))"
    ask = given + "from nfqdpi.kernel.slice import be_prompt; be_prompt()" + left
    shown = subprocess.run([sys.executable, "-c", ask], check=True, capture_output=True, text=True).stdout
    assert shown.split() == [str(policy), str(nice)]
