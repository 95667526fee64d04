"""The filters that events and flows have in common, as options."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import click

from nfqdpi.cli.common import Exit, fail, printable
from nfqdpi.core.verdict import Reason

F = TypeVar("F", bound=Callable[..., Any])


def filter_options(verdicts: Sequence[str]) -> Callable[[F], F]:
    """Hands ``accepts``, an events' Filter, to the command, or None where no filter is asked for."""
    closed = {"verdict": verdicts, "reason": [str(reason) for reason in Reason]}

    def decorate(command: F) -> F:
        @click.option("--verdict", multiple=True, type=click.Choice(verdicts), help="What was decided.")
        @click.option("--client", multiple=True, metavar="ADDRESS", help="The client: an address, a network, a MAC "
                                                                         "address.")
        @click.option("--name", multiple=True, metavar="PATTERN", help="The name, as in a rule: x.example and all "
                                                                       "below, =x.example, *.x.example, *word*.")
        @click.option("--reason", multiple=True, type=click.Choice(closed["reason"]), metavar="REASON",
                      help="Why: rule, default, timeout ...")
        @click.option("--rule", multiple=True, metavar="NAME", help="The rule that decided.")
        @click.option("--not", "unwanted", multiple=True, metavar="FILTER=VALUE",
                      help="None with this, as in --not verdict=accelerate.")
        @functools.wraps(command)
        def wrapped(*args: Any, unwanted: tuple[str, ...], **options: Any) -> Any:
            from nfqdpi.events.filter import KEYS, Filter

            wanted = [(key, value) for key in KEYS for value in options.pop(key)]
            refused = []
            for text in unwanted:
                key, _, value = text.partition("=")
                if key in closed and value not in closed[key]:
                    fail(Exit.USAGE, f"--not {printable(text)}: expected one of {', '.join(closed[key])}")
                refused.append((key, value))
            try:
                accepts = Filter(wanted, refused) if wanted or refused else None
            except ValueError as error:
                fail(Exit.USAGE, str(error))
            return command(*args, accepts=accepts, **options)

        return wrapped  # type: ignore[return-value]  # the decorated signature is click's business

    return decorate
