"""What every command shares: exit codes, the -c and --json options, and how text from the wire is shown."""

from __future__ import annotations

import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from enum import IntEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar, get_args

import click
import msgspec

from nfqdpi.cli.terminal import busy, cut, fitted

if TYPE_CHECKING:
    from nfqdpi.config import Config
    from nfqdpi.kernel.privileges import Capability

DEFAULT_CONFIG = Path("/etc/nfqdpi/nfqdpi.toml")
AS_ROOT = "run it as root"
RESTART = "systemctl restart nfqdpi mends that; nfqdpi marks and rules work meanwhile"

F = TypeVar("F", bound=Callable[..., Any])


class Exit(IntEnum):
    """Exit codes of every command."""

    OK = 0
    NO = 1
    USAGE = 2
    NOT_RUNNING = 3
    NOT_PERMITTED = 4
    DEGRADED = 5


def fail(code: Exit, *lines: str) -> NoReturn:
    """Say why on stderr, a line each, and exit with the code."""
    for line in lines:
        click.echo(f"nfqdpi: {printable(line)}", err=True)
    sys.exit(code)


def need_readable(path: Path) -> None:
    """End with exit code 4 where this process may not read it; what else is wrong with it, its reader says."""
    try:
        path.open("rb").close()
    except PermissionError:
        fail(Exit.NOT_PERMITTED, f"{path}: not permitted: {AS_ROOT}")
    except OSError:
        pass


def config_option(command: F) -> F:
    """``-c FILE``: hands the loaded ``Config`` to the command as ``config``; a bad one ends with exit code 2, one that
    we may not read with 4."""

    @click.option("-c", "--config", "config_path", type=click.Path(path_type=Path), default=DEFAULT_CONFIG,
                  show_default=True, help="The configuration file.")
    @functools.wraps(command)
    def wrapped(*args: Any, config_path: Path, **kwargs: Any) -> Any:
        from nfqdpi.config import ConfigError, load  # msgspec is not needed for --help

        need_readable(config_path)
        try:
            config = load(config_path, required=config_path != DEFAULT_CONFIG)
        except ConfigError as error:
            fail(Exit.USAGE, *error.problems)
        return command(*args, config=config, **kwargs)

    return wrapped  # type: ignore[return-value]  # the decorated signature is click's business


def simulate_option(command: F) -> F:
    """``--simulate CONDITION``, below ``config_option``: changes the ``config`` that the command gets."""

    @click.option("--simulate", metavar="CONDITION", help="Treat every flow as if this condition of [fail] were true.")
    @functools.wraps(command)
    def wrapped(*args: Any, config: Config, simulate: str | None, **kwargs: Any) -> Any:
        from nfqdpi.config.model import Condition

        if simulate is not None:
            if simulate not in get_args(Condition):
                fail(Exit.USAGE, f"--simulate: no condition {printable(simulate)!r}; there are "
                                 + ", ".join(get_args(Condition)))
            chosen = msgspec.structs.replace(config.fail, simulate=simulate)
            config = msgspec.structs.replace(config, fail=chosen)
        return command(*args, config=config, **kwargs)

    return wrapped  # type: ignore[return-value]  # the decorated signature is click's business


json_option = click.option("--json", "as_json", is_flag=True, help="Machine-readable output.")


def emit_json(value: object) -> None:
    """One JSON document on one line of stdout."""
    click.echo(msgspec.json.encode(value).decode())


def printable(text: str) -> str:
    """The text with all but printable characters escaped: names come from attackers, terminals obey escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def duration(seconds: float) -> str:
    """As a limit is written: 45s, 40m, 1h30m."""
    if seconds < 60:
        return f"{seconds:.0f}s"
    hours, minutes = divmod(int(seconds) // 60, 60)
    return f"{hours}h" * bool(hours) + f"{minutes}m" * bool(minutes)


def ask_daemon(config: Config, command: str) -> dict[str, Any]:
    """The daemon's reply; ends with exit code 3 where none runs, 4 where we may not ask, 5 where it does not answer."""
    from nfqdpi.daemon.ask import Hung, NotRunning, ask

    try:
        with busy("waiting for the daemon"):
            reply = ask(config.control.socket, command)
    except Hung as error:
        fail(Exit.DEGRADED, f"{error}: {RESTART}")
    except NotRunning as error:
        fail(Exit.NOT_RUNNING, f"{error}: start it by systemctl start nfqdpi, or nfqdpi run")
    except PermissionError:
        fail(Exit.NOT_PERMITTED, f"{config.control.socket}: not permitted: {AS_ROOT}")
    if "error" in reply:
        fail(Exit.DEGRADED, f"the daemon says: {reply['error']}")
    return reply


def problems_of(reply: dict[str, Any]) -> list[str]:
    """Why the daemon has not put in force what it was asked to; none where it has."""
    return [reply["error"]] if "error" in reply else list(reply["problems"])


def table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """An aligned table on stdout; numbers to the right. On a terminal it is as wide as that, and long cells are cut."""
    cells = [_texts(row) for row in (header, *rows)]
    wanted = [max(map(len, column)) for column in zip(*cells, strict=True)]
    widths = fitted(wanted, gap=2)
    if widths != wanted:
        cells = [list(map(cut, row, widths)) for row in cells]
    right = [bool(rows) and all(isinstance(row[n], int) for row in rows) for n in range(len(header))]
    line = "  ".join(f"%{'' if r else '-'}{width}s" for width, r in zip(widths, right, strict=True))
    head, *body = ((line % tuple(row)).rstrip() for row in cells)
    click.echo("\n".join([click.style(head, bold=True), *body]))


def _texts(row: Sequence[object]) -> list[str]:
    """Printable; most rows are in whole, and a table may have 100,000."""
    texts = list(map(str, row))
    return texts if "".join(texts).isprintable() else list(map(printable, texts))


def need(*capabilities: Capability) -> None:
    """End with exit code 4 and their names where this process lacks any of the capabilities."""
    from nfqdpi.kernel.privileges import missing

    if lacking := missing(*capabilities):
        fail(Exit.NOT_PERMITTED, f"this needs {', '.join(lacking)}: {AS_ROOT}")


@contextmanager
def kernel_errors() -> Iterator[None]:
    """What conntrack's netlink refuses, as exit code 4 or 1."""
    try:
        yield
    except PermissionError:
        fail(Exit.NOT_PERMITTED, "the kernel refused: CAP_NET_ADMIN is needed in this network namespace")
    except BrokenPipeError:
        raise  # nobody reads on: click's to end quietly
    except OSError as error:
        fail(Exit.NO, f"conntrack: {error.strerror}")
