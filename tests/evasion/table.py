"""``./dev evasion``: the matrix as a table, one line a row."""

from __future__ import annotations

import subprocess
import sys
from itertools import groupby
from pathlib import Path

import click

from nfqdpi.cli.common import printable
from tests.evasion.case import Case, Seen
from tests.evasion.matrix import CASES
from tests.evasion.stage import USUAL, Setting, Stage, leaked

_WIDTHS = (12, 7, 52, 4, 24, 40, 26, 3)


_LONG = (
    USUAL,
    Setting("fail closed", '[fail]\ndefault = "closed"\n'),
    Setting("as the kernel comes: tcp_loose = 1, rp_filter = 0", tcp_loose=1, rp_filter=0),
    Setting("iptables-legacy", back_end="legacy"),
)


@click.command()
@click.argument("text", default="")
@click.option("--long", is_flag=True, help="In other settings of the gateway too.")
def main(text: str, long: bool) -> None:
    """Play every row that has TEXT in it, or all, QUIC's, the plugins' and the floods, and print what came of it.

    Exit: 0 all is as it must be, 1 something is not.
    """
    chosen = [case for case in CASES if text in str(case)]
    wrong = sum([_play(chosen, setting) for setting in (_LONG if long else _LONG[:1])])
    if not text:
        click.secho("QUIC, plugins, and what the gateway can be made to hold", bold=True)
        tests = [Path(__file__).with_name(f"test_{name}.py") for name in ("quic", "decoys", "resources")]
        wrong += subprocess.run([sys.executable, "-m", "pytest", "-sv", "--no-header", *tests], check=False).returncode
    sys.exit(1 if wrong else 0)


def _play(chosen: list[Case], setting: Setting) -> int:
    """A table; what went wrong in it, counted."""
    click.secho(f"the gateway: {setting.name}", bold=True)
    _line("asked", "name", "what was sent", "IP", "the client got", "the application saw", "verdict, reason", "ok")
    wrong = 0
    with Stage(setting) as stage:
        playing = stage.start(chosen)
        rows = sorted(chosen, key=lambda case: (case.trick.server, case.trick.what, case.name))
        for _, group in groupby(rows, lambda case: (case.trick, case.name)):
            wrong += _row([(case, playing[case].result()) for case in group])
        late = leaked(stage.witnesses.everything())
        said = stage.daemon.log.read_text().splitlines()[1:]
    for line in said:
        click.secho(f"the daemon said: {printable(line)}", fg="red")
    click.echo(f"{len(chosen) - wrong} of {len(chosen)} cases are as they must be. "
               + (f"An application saw a blocked name: {late}" if late else "No application saw a blocked name."))
    click.echo()
    return wrong + bool(late) + len(said)


def _row(played: list[tuple[Case, Seen]]) -> int:
    """A line; one a family where they differ. The number of those that went wrong."""
    for seen, same in groupby(played, lambda one: one[1]):
        families = "+".join(str(case.family) for case, _ in same)
        case = played[0][0]
        _line(case.trick.server, case.name.partition(".")[0], case.trick.what, families, seen.client, seen.server,
              f"{seen.verdict}, {seen.reason}", "NO" if seen.wrong else "ok", red=bool(seen.wrong))
        if seen.wrong:
            click.secho(f"    {printable(seen.wrong)}", fg="red")
    return sum(bool(seen.wrong) for _, seen in played)


def _line(*cells: str, red: bool = False) -> None:
    cut = (printable(cell)[:width].ljust(width) for cell, width in zip(cells, _WIDTHS, strict=True))
    click.secho(" ".join(cut).rstrip(), fg="red" if red else None)
