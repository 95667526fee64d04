"""``nfqdpi run``: the gateway in the foreground, as a service manager wants it."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import click
import msgspec

from nfqdpi.cli.common import DEFAULT_CONFIG, Exit, config_option, fail, need, simulate_option
from nfqdpi.config import Config


@click.command("run")
@config_option
@simulate_option
@click.option("--no-rules", is_flag=True, help="Leave the firewall alone: the rules are somebody else's.")
def command(config: Config, *, no_rules: bool) -> None:
    """Run the gateway in this network namespace until SIGTERM: workers, then rules, then "ready" on stderr.

    SIGHUP reloads the configuration.

    Example: nfqdpi run -c ./nfqdpi.toml
    """
    from nfqdpi.config import load
    from nfqdpi.daemon.governor import PolicyError
    from nfqdpi.daemon.pool import PoolError
    from nfqdpi.daemon.supervisor import Supervisor
    from nfqdpi.kernel.firewall import FirewallError
    from nfqdpi.kernel.privileges import Capability
    from nfqdpi.kernel.queues import queues
    from nfqdpi.plugins import PluginError

    need(Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW)
    ours = range(config.queue.first, config.queue.first + config.worker_count)
    if taken := [queue for number, queue in queues().items() if number in ours]:
        fail(Exit.NO, *(f"queue {queue.number} is owned by process {queue.owner or 'unknown'}" for queue in taken))
    path: Path = click.get_current_context().params["config_path"]

    def read() -> Config:
        again = load(path, required=path != DEFAULT_CONFIG)
        simulated = msgspec.structs.replace(again.fail, simulate=config.fail.simulate)  # the command line may say it
        return msgspec.structs.replace(again, fail=simulated)

    _give_up_the_rest(config, path)
    try:
        supervisor = Supervisor(config, read=read, with_rules=not no_rules, say=_say)
    except OSError as error:
        fail(Exit.USAGE, f"[events] file: {error.filename}: {error.strerror}")
    except PluginError as error:
        fail(Exit.USAGE, str(error))
    try:
        asyncio.run(supervisor.run())
    except OSError as error:
        fail(Exit.NO, f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except (PolicyError, PoolError, FirewallError) as error:
        fail(Exit.NO, str(error))


def _give_up_the_rest(config: Config, path: Path) -> None:
    """Of root's privileges nothing is left but what the queues, the rules and the resets take."""
    import pwd

    from nfqdpi.daemon.control import owners, readers
    from nfqdpi.kernel.privileges import Capability, drop
    from nfqdpi.kernel.queues import show_to

    try:
        owners(config.control)
        groups = readers(config.control)
    except LookupError as error:
        fail(Exit.USAGE, str(error))
    user = config.service.user
    directories = [Path(config.state.directory)]
    directories += [Path(file).parent for file in (config.events.file, config.control.socket) if file]
    reads = (*map(Path, sys.path), path)
    try:
        if user:
            show_to(pwd.getpwnam(user).pw_gid)
        drop(Capability.CAP_NET_ADMIN, Capability.CAP_NET_RAW, user=user, groups=groups, directories=directories,
             reads=reads)
    except LookupError:
        fail(Exit.USAGE, f"[service] user: there is no user {user!r}")
    except PermissionError as error:
        fail(Exit.NOT_PERMITTED, f"[service] user: {user} may not read {error.filename}" if error.filename
             else f"[service] user: only root can become {user}")


def _say(line: str) -> None:
    click.echo(f"nfqdpi: {line}", err=True)
