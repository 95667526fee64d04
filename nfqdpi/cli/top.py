"""``nfqdpi top``: which names, clients, rules and protocols have most verdicts, and which names most bytes, now."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from nfqdpi.cli.common import RESTART, Exit, ask_daemon, config_option, emit_json, fail, json_option, printable, table
from nfqdpi.cli.terminal import cut

if TYPE_CHECKING:
    import curses

    from nfqdpi.config import Config

_ACTIONS = ("accelerate", "block", "inspect")
_SORTS = {"a": "a second", "t": "total", "b": "block", "k": "key"}  # key on the keyboard -> what it sorts by
_NARROWEST = 8  # of the columns of numbers
_PLAIN_ROWS = 10  # of each table, where they stand below each other
_ESCAPE, _ENTER, _BACKSPACE = 27, (10, 13), (8, 127, 263)
_HELP = "1-5 Tab: table   a t b k: sort   /: filter   q: quit"


class Table(NamedTuple):
    """What its rows are about, what is counted of each, and what its total is called: what that is the count of, or the
    sum of the others."""

    about: str
    columns: tuple[str, ...] = _ACTIONS
    total: str = "total"

    def sum(self, row: dict[str, Any]) -> int:
        """The total of a row as the daemon tells it."""
        return sum(row.get(word, 0) for word in (self.columns if self.total == "total" else (self.total,)))


_TABLES = {**{kind: Table(kind) for kind in ("name", "client", "rule", "protocol")},
           "bytes": Table("name", ("packets",), "bytes")}
_KINDS = tuple(_TABLES)
_TABS = {kind: "bytes" if kind == "bytes" else f"{kind}s" for kind in _KINDS}


class Row(NamedTuple):
    """One line: ``rate`` is how much the total has grown a second since the look before."""

    key: str
    rate: float
    total: int
    counts: tuple[int, ...]


@dataclass
class View:
    """What of the daemon's tables is shown, and in which order."""

    kind: str = _KINDS[0]
    sort: str = "total"
    wanted: str = ""  # a part of the key, whatever its case

    def rows(self, now: dict[str, Any], before: dict[str, Any]) -> list[Row]:
        """Of the table that is chosen, with rates between two looks."""
        kind, table = self.kind, _TABLES[self.kind]
        seconds = max(now["time"] - before["time"], 1e-3)
        earlier = {row[table.about]: table.sum(row) for row in before[kind]}
        rows = []
        for row in now[kind]:
            key, total = row[table.about], table.sum(row)
            if self.wanted.lower() in key.lower():
                rate = max(0, total - earlier.get(key, 0)) / seconds
                rows.append(Row(key, rate, total, tuple(row.get(column, 0) for column in table.columns)))
        match self.sort:
            case "a second":
                rows.sort(key=lambda row: (-row.rate, -row.total))
            case "block" if "block" in table.columns:
                rows.sort(key=lambda row: (-row.counts[_ACTIONS.index("block")], -row.total))
            case "key":
                rows.sort(key=lambda row: row.key)
        return rows  # by total: as the daemon has them

    def press(self, key: int) -> None:
        """Obey a key that chooses or sorts; others do nothing."""
        letter = chr(key) if 0 <= key < 128 else ""
        if letter == "\t":
            self.kind = _KINDS[(_KINDS.index(self.kind) + 1) % len(_KINDS)]
        elif letter.isdigit() and 1 <= int(letter) <= len(_KINDS):
            self.kind = _KINDS[int(letter) - 1]
        elif letter in _SORTS:
            self.sort = _SORTS[letter]


@click.command("top")
@config_option
@click.option("--by", type=click.Choice(_KINDS), help="The table that is shown; first, in a terminal.")
@click.option("--filter", "wanted", metavar="TEXT", default="", help="Only what has TEXT in it.")
@click.option("--every", metavar="SECONDS", type=click.FloatRange(min=0.1), default=1.0, show_default=True,
              help="How often a terminal's picture is renewed.")
@json_option
def command(config: Config, *, by: str | None, wanted: str, every: float, as_json: bool) -> None:
    """Verdicts by name, client, rule and protocol, and bytes by name: live in a terminal, where keys choose, sort and
    filter; elsewhere once, as text or JSON. Counts are since the daemon started, of those that have most. Bytes are
    what conntrack counts: net.netfilter.nf_conntrack_acct must be 1.

    Example: nfqdpi top --by client
    """
    views = [View(kind, wanted=wanted) for kind in ([by] if by else _KINDS)]
    if not as_json and sys.stdout.isatty() and sys.stdin.isatty():
        _live(config, views[0], every)
        return
    now = ask_daemon(config, "top")
    tables = {view.kind: view.rows(now, now) for view in views}
    if as_json:
        emit_json({"time": now["time"], **{kind: [_object(_TABLES[kind], row) for row in rows]
                                           for kind, rows in tables.items()}})
        return
    for number, (kind, rows) in enumerate(tables.items()):
        if number:
            click.echo()
        shown = rows if by else rows[:_PLAIN_ROWS]
        about, columns, total = _TABLES[kind]
        table((about, total, *columns), [(row.key, row.total, *row.counts) for row in shown])


def _object(of: Table, row: Row) -> dict[str, Any]:
    counts = dict(zip(of.columns, row.counts, strict=True))
    return {of.about: row.key, **counts} if of.total == "total" else {of.about: row.key, of.total: row.total, **counts}


def _live(config: Config, view: View, every: float) -> None:
    import curses
    import locale
    import os

    from nfqdpi.daemon.ask import Hung, NotRunning

    locale.setlocale(locale.LC_ALL, "")
    os.environ.setdefault("ESCDELAY", "25")  # ms; 1000 are for terminals of another century
    try:
        curses.wrapper(_Screen(config.control.socket, view, every).run)
    except KeyboardInterrupt:
        pass
    except curses.error as error:
        fail(Exit.DEGRADED, f"this terminal cannot show it ({error}): try nfqdpi top | cat")
    except Hung as error:
        fail(Exit.DEGRADED, f"{error}: {RESTART}")
    except (NotRunning, PermissionError):
        ask_daemon(config, "top")  # it says why not; or there is another daemon by now
        _live(config, view, every)


class _Screen:
    """The picture in a terminal, until a key ends it."""

    def __init__(self, socket: str, view: View, every: float) -> None:
        self._socket = socket
        self._view = view
        self._every = every
        self._typing = False  # the filter

    def run(self, screen: curses.window) -> None:
        import curses

        with suppress(curses.error):  # not every terminal can
            curses.use_default_colors()
            curses.curs_set(0)
        now = before = self._ask()
        due = monotonic() + self._every
        while True:
            self._draw(screen, now, before)
            screen.timeout(max(1, round(1000 * (due - monotonic()))))
            key = screen.getch()
            if key != -1 and not self._press(key):
                return
            if monotonic() >= due:
                before, now = now, self._ask()
                due = monotonic() + self._every

    def _ask(self) -> dict[str, Any]:
        from nfqdpi.daemon.ask import NotRunning, ask

        reply = ask(self._socket, "top")
        if "error" in reply:
            raise NotRunning(reply["error"])  # an older one, which has no tables
        return reply

    def _press(self, key: int) -> bool:
        """False: it was the last."""
        view = self._view
        if not self._typing:
            if key == ord("/"):
                self._typing, view.wanted = True, ""
            else:
                view.press(key)
            return key not in (ord("q"), ord("Q"))
        if key == _ESCAPE:
            self._typing, view.wanted = False, ""
        elif key in _ENTER:
            self._typing = False
        elif key in _BACKSPACE:
            view.wanted = view.wanted[:-1]
        elif 32 <= key < 127:
            view.wanted += chr(key)
        return True

    def _draw(self, screen: curses.window, now: dict[str, Any], before: dict[str, Any]) -> None:
        import curses

        height, width = screen.getmaxyx()
        view, rows = self._view, self._view.rows(now, before)
        tabs = "  ".join(f"[{number} {_TABS[kind]}]" if kind == view.kind else f" {number} {_TABS[kind]} "
                         for number, kind in enumerate(_KINDS, 1))
        of = _TABLES[view.kind]
        widths = {word: max(_NARROWEST, len(word)) for word in ("a second", of.total, *of.columns)}
        wanted = f"filter: {view.wanted}{'_' if self._typing else ''}" if view.wanted or self._typing else ""
        room = max(8, width - 1 - sum(number + 2 for number in widths.values()))  # for the key
        head = f"{of.about:<{room}}" + "".join(f"  {word:>{number}}" for word, number in widths.items())
        screen.erase()
        lines = [(tabs, curses.A_NORMAL), (f"{len(rows)} by {view.sort}   {wanted or _HELP}", curses.A_DIM),
                 (head, curses.A_REVERSE)]
        lines += [(_line(row, room, widths.values()), curses.A_NORMAL) for row in rows[: max(0, height - len(lines))]]
        for y, (text, attribute) in enumerate(lines[:height]):
            screen.addnstr(y, 0, text, max(1, width - 1), attribute)
        screen.refresh()


def _line(row: Row, room: int, widths: Iterable[int]) -> str:
    numbers = (f"{row.rate:.1f}", row.total, *row.counts)
    return f"{cut(printable(row.key), room):<{room}}" + "".join(
        f"  {number:>{width}}" for number, width in zip(numbers, widths, strict=True))
