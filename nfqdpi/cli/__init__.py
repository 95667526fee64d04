"""The command line: one file per command group, imported only when its command is called."""

from __future__ import annotations

import errno
import os
from importlib import import_module
from typing import Any

import click

from nfqdpi.build import version

# Command -> (module below nfqdpi.cli, one line for the list of commands). The command is the module's ``command``, or
# what is named behind a colon. The line stands here too, so that ``nfqdpi --help`` imports none of them.
COMMANDS = {
    "run": ("run", "Run the gateway: rules, workers, control socket."),
    "status": ("status", "Is the daemon up, and does it judge traffic?"),
    "reload": ("reload", "Put the configuration as it is now in force, without a stop."),
    "block": ("by_hand:block", "Block a name, a client or a group at once, for a time if you like."),
    "allow": ("by_hand:allow", "Let a name pass at once, whatever rules say."),
    "pause": ("by_hand:pause", "Let everything pass: for everybody, a client or a group."),
    "resume": ("by_hand:resume", "End a pause."),
    "overrides": ("overrides", "The changes by hand that are in force; take one back."),
    "rules": ("rules", "Render, install, check and remove the firewall rules."),
    "marks": ("marks", "List, set, clear, flush and watch conntrack marks."),
    "flows": ("flows", "The kernel's tracked flows, with names and verdicts."),
    "events": ("events", "What was decided, when and why; -f follows it."),
    "stats": ("stats", "Counters of the running daemon; --watch tells what they do a second."),
    "top": ("top", "Names, clients, rules and protocols by verdicts, live in a terminal."),
    "explain": ("explain", "What the policy says of a name, and why."),
    "replay": ("replay", "Run the engine over capture files."),
    "lists": ("lists", "Lists of names: where from, how old; update, check, add, remove."),
    "config": ("config", "Check and show the configuration."),
    "import": ("import_", "The policy of Pi-hole, AdGuard Home or OpenSync as a configuration."),
    "plugins": ("plugins", "The classifiers that are installed."),
    "doctor": ("doctor", "What this machine lacks, and how to mend it."),
    "support-bundle": ("support_bundle", "An archive for whoever helps, without names and addresses."),
    "lab": ("lab", "A real gateway in network namespaces, with real clients and servers."),
}


class _Commands(click.Group):
    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        module, _, attribute = COMMANDS[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(f"nfqdpi.cli.{module}"), attribute or "command")
        return command

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # nobody reads on: click's to end quietly
            from nfqdpi.cli.common import AS_ROOT, Exit, fail

            said = f"{error.filename}: {error.strerror}" if error.filename else str(error)
            if isinstance(error, PermissionError):
                fail(Exit.NOT_PERMITTED, f"{said}: {AS_ROOT}")
            fail(Exit.DEGRADED, said)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])


@click.command(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(version(), prog_name="nfqdpi")
@click.pass_context
def main(ctx: click.Context) -> None:
    """Name-based control of web connections on a Linux router."""
    from nfqdpi.cli.terminal import colour

    ctx.color = colour(os.environ)
