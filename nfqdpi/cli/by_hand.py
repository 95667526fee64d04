"""``nfqdpi block, allow, pause, resume``: changes of the policy by hand, in front of all rules.

They are kept in the state directory: with the daemon down they wait for its start.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypeVar

import click

from nfqdpi.cli.common import (
    AS_ROOT,
    RESTART,
    Exit,
    config_option,
    fail,
    printable,
    problems_of,
)
from nfqdpi.cli.terminal import busy
from nfqdpi.config import Config

if TYPE_CHECKING:
    from nfqdpi.state import State

F = TypeVar("F", bound=Callable[..., Any])


class Whose(NamedTuple):
    """For whom a change is: a client, a group, or, with neither, everybody."""

    client: str | None = None
    group: str | None = None


EVERYBODY = Whose()


def _whose(command: F) -> F:
    """``--client`` or ``--group``, as ``whose``."""

    @click.option("--client", metavar="CLIENT", help="For one client: its address, network, MAC address or name.")
    @click.option("--group", metavar="GROUP", help="For a group of the configuration.")
    @functools.wraps(command)
    def wrapped(*args: Any, config: Config, client: str | None, group: str | None, **kwargs: Any) -> Any:
        if client is not None and group is not None:
            fail(Exit.USAGE, "either --client or --group")
        if group is not None and group not in {one.name for one in config.group}:
            fail(Exit.USAGE, f"no group is named {group!r}")
        return command(*args, config=config, whose=Whose(_member(client), group), **kwargs)

    return wrapped  # type: ignore[return-value]  # the decorated signature is click's business


def _member(client: str | None) -> str | None:
    from nfqdpi.config.values import Member

    if client is None:
        return None
    try:
        return Member.parse(client)
    except ValueError as error:
        fail(Exit.USAGE, f"--client: {error}")


def _seconds(ctx: click.Context, option: click.Parameter, value: str | None) -> float | None:
    from nfqdpi.config.values import Duration

    try:
        return None if value is None else Duration.parse(value)
    except ValueError as error:
        raise click.BadParameter(str(error)) from None


_for_option = click.option("--for", "seconds", metavar="TIME", callback=_seconds,
                           help="It ends by itself after so long: 30s, 10m, 2h, 1d.")


@click.command()
@click.argument("name", required=False)
@_for_option
@click.option("--all", "everybody", is_flag=True, help="Everything, for everybody.")
@config_option
@_whose
def block(config: Config, name: str | None, seconds: float | None, whose: Whose, *, everybody: bool) -> None:
    """Block NAME (with all below it; =NAME that name alone), or without it everything, for a client or a group.

    Example: nfqdpi block video.example --group kids --for 2h
    """
    if everybody and (name, *whose) != (None, *EVERYBODY):
        fail(Exit.USAGE, "--all is everything, for everybody: without a name, --client and --group")
    if name is None and whose == EVERYBODY and not everybody:
        fail(Exit.USAGE, "this would block everything for everybody; say a name, --client, --group or --all")
    _change(config, "block", name, whose, seconds)


@click.command()
@click.argument("name")
@_for_option
@config_option
@_whose
def allow(config: Config, name: str, seconds: float | None, whose: Whose) -> None:
    """Let NAME pass (with all below it; =NAME that name alone), whatever rules say.

    Example: nfqdpi allow homework.example --client tablet
    """
    _change(config, "allow", name, whose, seconds)


@click.command()
@_for_option
@config_option
@_whose
def pause(config: Config, seconds: float | None, whose: Whose) -> None:
    """Let everything pass: for everybody, for a client, or for a group.

    Example: nfqdpi pause --for 10m
    """
    _change(config, "allow", None, whose, seconds)


@click.command()
@config_option
@_whose
def resume(config: Config, whose: Whose) -> None:
    """End a pause: that of a client or of a group, or all. Exit 1: there is none.

    Example: nfqdpi resume
    """
    with state_of(config) as state:
        pauses = [change.id for change in state.overrides(time.time())
                  if change.action == "allow" and change.pattern is None
                  and whose in (EVERYBODY, (change.client, change.group))]
        if not pauses:
            fail(Exit.NO, "there is no such pause")
        take_back(config, state, pauses)


def _change(config: Config, action: Literal["allow", "block"], name: str | None, whose: Whose,
            seconds: float | None) -> None:
    from nfqdpi.policy.names import Pattern
    from nfqdpi.policy.overrides import Override

    try:
        pattern = None if name is None else str(Pattern.parse(name))
    except ValueError as error:
        fail(Exit.USAGE, str(error))
    if whose.client is not None:
        _need_somebody(config, whose.client)
    now = time.time()
    until = None if seconds is None else now + seconds
    with state_of(config) as state:
        change = state.add(Override(0, action, pattern, *whose, now, until))
    click.echo(f"{change.id}: {action} {pattern or 'everything'} for {for_whom(*whose)}, {until_when(until)}")
    _tell(config)


def _need_somebody(config: Config, client: str) -> None:
    """End with exit code 2 where nobody goes by that name."""
    from difflib import get_close_matches

    from nfqdpi.assemble import known_clients
    from nfqdpi.policy.clients import member_of

    if member_of(client) is not None:
        return
    try:
        known = known_clients(config)
    except (OSError, ValueError) as error:
        fail(Exit.USAGE, f"[clients]: {error}")
    if client not in known:
        near = get_close_matches(client, known, 3)
        fail(Exit.USAGE, f"--client: no client is named {client!r}" + (
            f"; did you mean {' or '.join(map(repr, near))}?" if near else ": see [clients], or say an address"))


def take_back(config: Config, state: State, numbers: Iterable[int]) -> None:
    """End these changes, and have the daemon look."""
    state.remove(numbers)
    for number in numbers:
        click.echo(f"{number}: taken back")
    _tell(config)


def _tell(config: Config) -> None:
    """Have the daemon look at once. Without one, the change waits for its start."""
    from nfqdpi.daemon.ask import Hung, NotRunning, ask

    try:
        with busy("waiting for the daemon"):
            reply = ask(config.control.socket, "by_hand")
    except Hung as error:
        fail(Exit.DEGRADED, f"{error}: the change is kept, and in force once it does: {RESTART}")
    except NotRunning:
        click.echo("nfqdpi: no daemon runs; it will be in force when one starts" if config.control.socket else
                   "nfqdpi: [control] socket is switched off; a daemon that runs takes it within ten seconds", err=True)
        return
    except PermissionError:
        fail(Exit.NOT_PERMITTED, f"{config.control.socket}: not permitted: the change is kept, and will be in force "
                                 "within ten seconds")
    if problems := problems_of(reply):
        fail(Exit.DEGRADED, *problems)
    click.echo(f"in force: {reply['cut']} running flows cut, {reply['freed']} freed")
    for trouble in reply["troubles"]:
        click.echo(f"! {printable(trouble)}")


@contextmanager
def state_of(config: Config) -> Iterator[State]:
    """Where changes by hand are kept; ends with exit code 4 where we may not, 5 where it cannot be read or written."""
    from nfqdpi.kernel.privileges import as_owner
    from nfqdpi.state import State, StateError

    try:
        with as_owner(Path(config.state.directory)):
            yield State(config.state.directory)
    except PermissionError as error:
        fail(Exit.NOT_PERMITTED, f"{error.filename}: not permitted: {AS_ROOT}")
    except StateError as error:
        fail(Exit.DEGRADED, str(error))


def for_whom(client: str | None, group: str | None) -> str:
    """A client, a group, or everybody."""
    return client or (f"group {group}" if group else "everybody")


def until_when(until: float | None) -> str:
    """When a change by hand ends."""
    return "until it is taken back" if until is None else f"until {moment(until)}"


def moment(seconds: float | None) -> str:
    """As a clock on the wall shows it; "-" of None."""
    return "-" if seconds is None else datetime.fromtimestamp(seconds).astimezone().strftime("%Y-%m-%d %H:%M:%S")
