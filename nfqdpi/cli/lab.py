"""``nfqdpi lab``: the scenario as a table, and a gateway to play with."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING

import click
import msgspec

from nfqdpi.cli.common import Exit, emit_json, fail, json_option, need, printable
from nfqdpi.cli.terminal import cut, fitted

if TYPE_CHECKING:
    from nfqdpi.lab.network import Lab
    from nfqdpi.lab.scenario import Row

_STANDING = "nfqdpi-lab-up"
_WIDTHS = (25, 7, 3, 26, 27, 7, 6, 6)


@click.group(invoke_without_command=True)
@json_option
@click.pass_context
def command(ctx: click.Context, as_json: bool) -> None:
    """Build client, gateway and server, try every case, and compare what is seen with what is expected.

    Exit: 0 all agree, 1 something does not, 4 not root, 5 a program is missing or the lab cannot be built.

    Example: nfqdpi lab
    """
    if ctx.invoked_subcommand is not None:
        return
    from nfqdpi.lab import scenario

    with _lab_errors():
        wrong = _show_json(scenario.run()) if as_json else _show_table(scenario.run())
    sys.exit(Exit.NO if wrong else Exit.OK)


@command.command()
def up() -> None:
    """Build the lab, start the daemon, and leave it standing; an earlier one is replaced.

    Example: nfqdpi lab up
    """
    from nfqdpi.lab.cases import NAMES
    from nfqdpi.lab.daemon import Daemon
    from nfqdpi.lab.network import Lab
    from nfqdpi.lab.resolver import Resolver
    from nfqdpi.lab.scenario import config_text
    from nfqdpi.lab.web import WebServer

    with _lab_errors(), Lab(_STANDING) as lab:
        web = WebServer(lab.server, lab.state / "web", NAMES)
        Resolver(lab.server, lab.state / "resolver")
        running = Daemon(lab, config_text(lab))
        lab.leave_standing()
    click.echo(_instructions(lab, str(web.ca), str(running.config)))


@command.command()
def down() -> None:
    """Take down what `up` left standing.

    Example: nfqdpi lab down
    """
    from nfqdpi.lab import claim

    with _lab_errors():
        if not claim.remove(_STANDING):
            fail(Exit.NO, "no lab is standing")


@contextmanager
def _lab_errors() -> Iterator[None]:
    from nfqdpi.lab import needs
    from nfqdpi.lab.namespace import LabError

    need(*needs.CAPABILITIES)
    if missing := needs.missing_programs():
        fail(Exit.DEGRADED, f"the lab needs programs that are not on PATH: {', '.join(missing)}")
    try:
        yield
    except LabError as error:
        fail(Exit.DEGRADED, *str(error).splitlines())


def _show_json(rows: Iterable[Row]) -> int:
    """One object a line; the number of rows that disagree."""
    wrong = 0
    for row in rows:
        wrong += bool(row.wrong)
        emit_json({
            "case": row.case.what, "mode": row.mode, "iptables": row.back_end, "client": row.case.client,
            "family": row.family, "name": row.case.name, "ok": not row.wrong, "wrong": row.wrong,
            "expected": msgspec.to_builtins(row.expected),
            "seen": {**msgspec.to_builtins(row.seen), "detail": row.answer.detail, "ms": row.answer.ms,
                     "rule": row.rule},
        })
    return wrong


def _show_table(rows: Iterable[Row]) -> int:
    """A table for each set-up; the number of rows that disagree."""
    total = wrong = 0
    for (mode, back_end), group in groupby(rows, lambda row: (row.mode, row.back_end)):
        click.secho(f"{mode} mode, iptables {back_end}", bold=True)
        click.echo(_line("case", "client", "IP", "verdict", "what the client saw", "queue", "mark", "server"))
        for row in group:
            total += 1
            wrong += bool(row.wrong)
            click.secho(printable(_cells(row)), fg="red" if row.wrong else None)
        click.echo()
    click.echo("queue: packets that entered it / the most expected; mark: ours in conntrack; server: payload bytes\n"
               "that it got. A cell that disagrees reads: seen != expected, or seen > most.")
    click.echo(f"{total - wrong} of {total} rows are as expected.")
    return wrong


def _line(*cells: str) -> str:
    widths = fitted(_WIDTHS, gap=2)
    if widths != list(_WIDTHS):  # else a cell that disagrees may be longer
        cells = tuple(map(cut, cells, widths))
    return "  ".join(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)).rstrip()


def _cells(row: Row) -> str:
    seen, expected, answer = row.seen, row.expected, row.answer

    def cell(name: str, *values: object, differs: str = " != ") -> str:
        texts = ["-" if value is None else str(value) for value in values]
        return differs.join(texts) if name in row.wrong else texts[0]

    verdict = f"{seen.verdict} ({row.rule or 'default'})" if seen.verdict else None
    client = f"ok, {answer.detail}" if seen.client == "ok" else f"{seen.client} after {answer.ms:.0f} ms"
    queued = f"{seen.queued} {'>' if 'queued' in row.wrong else '/'} {expected.queued}"
    marks = [mark if mark is None else int(mark) for mark in (seen.mark, expected.mark)]
    return _line(row.case.what, row.case.client, f"v{row.family}", cell("verdict", verdict, expected.verdict),
                 cell("client", client, expected.client), queued, cell("mark", *marks),
                 cell("server", seen.server, expected.server, differs=" > "))


def _instructions(lab: Lab, ca: str, config: str) -> str:
    from nfqdpi.lab.network import SERVER

    client, gateway = (f"ip netns exec {namespace.name}" for namespace in (lab.client, lab.gateway))
    nfqdpi = f"{gateway} {sys.executable} -m nfqdpi"
    fetch = f"{client} curl --cacert {ca} --connect-to '::[{SERVER[4]}]:'"
    return f"""\
The lab stands. As root:
  {fetch} https://allowed.example/
  {fetch} https://blocked.example/
  {fetch.replace(SERVER[4], SERVER[6])} http://blocked.example/
  {client} dig @{SERVER[4]} blocked.example
  {gateway} conntrack -L
  {nfqdpi} status -c {config}
  {nfqdpi} marks list -c {config}
Its files are in {lab.state}: nfqdpi.toml, daemon.log, eve.json, web/access.log, resolver/queries.log. Remove it by
  {sys.executable} -m nfqdpi lab down"""
