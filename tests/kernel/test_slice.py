"""A worker's turns on the CPU, as the kernel shows them."""

from __future__ import annotations

import re
import subprocess
import sys

import pytest

_ASK = "from nfqdpi.kernel.slice import be_prompt; be_prompt(); print(open('/proc/self/sched').read())"


def test_turns_are_short() -> None:
    """A tenth of a millisecond, whoever else's are longer; the policy and the share of the CPU are as they were."""
    shown = subprocess.run([sys.executable, "-c", _ASK], check=True, capture_output=True, text=True).stdout
    if "se.slice" not in shown:
        pytest.skip("this kernel does not show turns: Linux 6.12 does")
    values = dict(re.findall(r"^([\w.]+)\s*:\s*(\d+)$", shown, re.MULTILINE))
    assert (values["se.slice"], values["policy"], values["prio"]) == ("100000", "0", "120")
