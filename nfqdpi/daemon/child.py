"""Work that takes seconds, in a process of its own: the supervisor goes on, and keeps none of the memory."""

from __future__ import annotations

import asyncio
import os
import pickle
import sys
from collections.abc import Callable
from typing import ParamSpec, TypeVar

_PATIENT = 19  # how nice it is: packets go first

P = ParamSpec("P")
T = TypeVar("T")


class ChildError(Exception):
    """The process ended without a result; the message says how."""


async def in_child(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """What the function of a module returns, or raises. Raises ChildError."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-m", __name__, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True)  # a terminal's Ctrl-C is the supervisor's to obey
    try:
        answer, _ = await process.communicate(pickle.dumps((function, args, kwargs)))
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if not answer:
        raise ChildError(f"{function.__name__}: the process ended with {process.returncode}")
    raised, result = pickle.loads(answer)  # noqa: S301  by our own program
    if raised:
        raise result
    value: T = result
    return value


def _main() -> None:
    os.nice(_PATIENT)
    function, args, kwargs = pickle.load(sys.stdin.buffer)  # noqa: S301  by our own supervisor
    try:
        answer = False, function(*args, **kwargs)
    except Exception as error:  # noqa: BLE001  it is raised again, over there
        answer = True, error
    sys.stdout.buffer.write(pickle.dumps(answer))


if __name__ == "__main__":
    _main()
