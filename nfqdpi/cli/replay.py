"""``nfqdpi replay``: capture files through the engine."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from nfqdpi.cli.common import Exit, config_option, fail, printable, simulate_option

if TYPE_CHECKING:
    from nfqdpi.config import Config
    from nfqdpi.replay.run import Tally

_LONG_WORK = 8 << 20  # bytes; takes about a second


@click.command()
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path, readable=False), metavar="FILE...")
@config_option
@simulate_option
@click.option("-j", "--jobs", type=click.IntRange(min=1), default=lambda: len(os.sched_getaffinity(0)),
              show_default="one per CPU", help="Files read at once.")
@click.option("--all", "show_all", is_flag=True, help="Also the flows in which no protocol was recognised.")
@click.option("--json", is_flag=True, expose_value=False, help="The only form there is.")
def command(files: tuple[Path, ...], config: Config, jobs: int, show_all: bool) -> None:
    """Run the engine over capture files (pcap, pcapng; also gzipped) and print a JSON line for each flow, and for each
    message of DNS.

    Every TCP flow is looked at, whatever its port, and every UDP flow for QUIC; DNS on the ports of its plugin. All
    plugins are asked but those that the configuration disables. A flow has the first name that it says, and
    the verdict that it came to. Exit: 0 all was read, 5 something was not (which, is said on stderr).

    Example: nfqdpi replay capture.pcap --simulate no_name
    """
    from nfqdpi.plugins import PluginError
    from nfqdpi.replay.jobs import Output, Settings, replay
    from nfqdpi.replay.run import Tally
    from nfqdpi.state import StateError

    total, began = Tally(), time.monotonic()

    def done(path: Path, tally: Tally) -> None:
        nonlocal total
        total += tally
        for problem in tally.problems:
            click.echo(printable(f"{path}: {problem}"), err=True)

    size = sum(path.stat().st_size for path in files if path.is_file())
    with click.progressbar(length=size, label="reading", file=sys.stderr,
                           hidden=size < _LONG_WORK or not sys.stderr.isatty()) as bar:
        try:
            replay(files, Settings(config, show_all), jobs, Output(sys.stdout.buffer, done, bar.update))
        except ValueError as error:
            fail(Exit.USAGE, str(error))
        except (PluginError, StateError) as error:
            fail(Exit.DEGRADED, str(error))
        sys.stdout.flush()
    click.echo(_summary(len(files), total, time.monotonic() - began), err=True)
    sys.exit(Exit.DEGRADED if total.problems else Exit.OK)


def _summary(files: int, total: Tally, seconds: float) -> str:
    unread = "".join(f", {count} {reason}" for reason, count in sorted(total.unread.items()))
    return (f"{files} {'file' if files == 1 else 'files'}: {total.packets} packets{unread}; {total.flows} flows, "
            f"{total.rows} shown; {seconds:.1f} s")
