"""What a policy of a million names costs: to compile, to swap in, to ask, and to have once more in another process.

`python -m bench.policy` measures; `python -m bench.policy --agree 1000000` compares so many decisions with those of a
loop that tries everything in order.
"""

from __future__ import annotations

import argparse
import gc
import os
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random
from resource import RUSAGE_CHILDREN, getrusage
from statistics import median
from time import perf_counter, perf_counter_ns, thread_time

from nfqdpi import assemble
from nfqdpi.config import Config, load
from nfqdpi.config.model import DomainList
from nfqdpi.core.decision import Client
from nfqdpi.core.verdict import Verdict
from nfqdpi.lists.compile import compile_lists, open_index
from nfqdpi.lists.store import Store
from nfqdpi.lists.update import update
from nfqdpi.policy.model import Policy, Rule
from tests.policy import reference, worlds

NOW = 1_780_308_000.0  # Monday, 1 June 2026, noon in Berlin
CLIENTS = [Client(bytes((192, 168, 1, n)), bytes((2, 0, 0, 0, 0, n))) for n in range(200)]
QUESTIONS = 200_000
KEYWORDS = 3000


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.policy", description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--names", type=int, default=1_000_000, help="distinct ones (default: %(default)s)")
    parser.add_argument("--agree", type=int, metavar="DECISIONS", help="compare with the loop instead")
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    random = Random(asked.seed)  # noqa: S311  what is random here need not be secret
    if asked.agree:
        _agree(asked.agree, random)
        return
    print(f"{os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}, Python {sys.version.partition(' ')[0]}")
    names = _names(asked.names, random)
    fifths = [names[n::5] for n in range(5)]
    for title, lists in (("one list", [names]),
                         ("five lists, of which each has half of the next", [
                             one + random.sample(fifths[(n + 1) % 5], len(one) // 2) for n, one in enumerate(fifths)])):
        print(f"\n{len(names)} names in {title}: {sum(map(len, lists))} lines")
        with tempfile.TemporaryDirectory() as folder:
            _measure(Path(folder), lists, names, random)
    _measure_keywords(random)


def _names(count: int, random: Random) -> list[str]:
    """Of two to four syllables' length, a third of them below others, as lists of trackers are."""
    syllables = [a + b + c for a in "bcdfghklmnprstvw" for b in "aeiou" for c in ("", "n", "r", "s", "t", "l")]
    endings = ("com",) * 10 + ("net", "net", "org", "org", "de", "fr", "ru", "co.uk", "io", "xyz", "top", "info")
    sites = list({"".join(random.choices(syllables, k=random.choice((2, 3, 3, 4)))) + random.choice(("", "-x", "24"))
                  + "." + random.choice(endings) for _ in range(count)})[: count * 2 // 3]
    names = dict.fromkeys(sites)
    while len(names) < count:
        names[f"{random.choice(('www', 'ads', 'track', 'cdn', 'pixel', 'api', 's1'))}{random.randrange(9)}."
              f"{random.choice(sites)}"] = None
    shuffled = list(names)
    random.shuffle(shuffled)
    return shuffled


def _measure(folder: Path, lists: list[list[str]], names: list[str], random: Random) -> None:
    config = _config(folder, lists)
    named = assemble.lists(config)
    started, before = perf_counter(), getrusage(RUSAGE_CHILDREN)
    _in_child(lambda: compile_lists(config.state.directory, named))
    after = getrusage(RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    path = compile_lists(config.state.directory, named)
    assert path is not None  # noqa: S101  the child has made it
    print(f"  compiled in {perf_counter() - started:.2f} s (CPU {cpu:.2f} s, {after.ru_maxrss >> 10} MB at most), "
          f"{path.stat().st_size / 1e6:.1f} MB")

    def policy() -> Policy:
        made = assemble.policy(config, open_index(path))
        made.set_time(NOW)
        return made

    gc.freeze()  # as workers do
    print(f"  reload with {len(config.rule)} rules: {_milliseconds(policy)}")
    hits = random.sample(names, QUESTIONS // 2)
    misses = [f"{'.'.join(_word(random) for _ in range(random.randint(1, 2)))}.{random.choice(('com', 'net', 'de'))}"
              for _ in hits]
    made = policy()
    for title, questions in (("hits", hits), ("misses", misses), ("both", random.sample(hits + misses, QUESTIONS))):
        print(f"  decide, {title:7}: {_percentiles(made.decide, questions)}")
    _in_child(lambda: _print_memory(policy, hits))  # while this process has it all mapped, as another worker has


def _config(folder: Path, lists: list[list[str]]) -> Config:
    """A hundred rules: of domains, of lists, for groups, in schedules."""
    text = [f'[state]\ndirectory = "{folder}"\n[policy]\ntime_zone = "Europe/Berlin"']
    for n, names in enumerate(lists):
        (folder / f"{n}.txt").write_text("# a list\n" + "".join(f"0.0.0.0 {name}\n" for name in names))
        text.append(f'[[list]]\nname = "l{n}"\npath = "{folder}/{n}.txt"')
    text += [f'[[schedule]]\nname = "s{n}"\nwindows = ["mon-fri {n + 12}:00-07:00", "sat,sun 10:00-12:00"]'
             for n in range(5)]
    text += [f'[[group]]\nname = "g{n}"\ninterfaces = ["br-{n}"]\n'
             f'clients = ["192.168.1.{n * 20}/30", "02:00:00:00:00:{n:02x}", "fd00:{n}::/64"]' for n in range(10)]
    for n in range(100):
        domains = f'domains = ["site{n}.example", "*.more{n}.com", "=one{n}.net"]'
        text.append(f'[[rule]]\nname = "r{n}"\naction = "block"\n'
                    + (domains if n % 2 else f'lists = ["l{n // 2 % len(lists)}"]')
                    + (f'\ngroups = ["g{n % 10}"]' if n < 90 else "")
                    + (f'\nschedule = "s{n % 5}"' if n % 3 == 0 else ""))
    (folder / "nfqdpi.toml").write_text("\n".join(text))
    config = load(folder / "nfqdpi.toml")
    for result in update(config.list, Store(config.state.directory), lambda name, share: None):
        assert not result.problem, result  # noqa: S101
    return config


def _percentiles(decide: Callable[[str, Client], object], names: Sequence[str]) -> str:
    """Of one decision on a name that comes fresh from a packet, for a client who has asked before; without what the
    clock itself takes. And in that tenth of the run which the machine's other work disturbed least."""
    questions = [(name.encode(), CLIENTS[n % len(CLIENTS)]) for n, name in enumerate(names)]
    for client in CLIENTS:
        decide("", client)
    clock = perf_counter_ns
    gc.collect()
    gc.disable()
    empty, times = [], []
    for _ in questions:
        start = clock()
        empty.append(clock() - start)
    for raw, client in questions:
        name = raw.decode()
        start = clock()
        decide(name, client)
        times.append(clock() - start)
    gc.enable()
    without = sorted(empty)[len(empty) // 2]

    def told(part: list[int]) -> str:
        part = sorted(part)
        return ", ".join(f"{title} {(part[len(part) * p // 1000] - without) / 1e3:.2f}"
                         for title, p in (("p50", 500), ("p99", 990)))

    tenth = len(times) // 10
    calmest = min((times[n * tenth : (n + 1) * tenth] for n in range(10)), key=median)
    return f"{told(times)} us; in the calmest tenth {told(calmest)} us"


def _print_memory(policy: Callable[[], Policy], questions: list[str]) -> None:
    nothing = Policy()
    for n, name in enumerate(questions):  # what the fork left shared of them becomes this process's own
        nothing.decide(name, CLIENTS[n % len(CLIENTS)])
    before = _private()
    made = policy()
    for n, name in enumerate(questions):
        made.decide(name, CLIENTS[n % len(CLIENTS)])
    own = (_private() - before) / 1024
    print(f"  a further worker, after {len(questions)} hits: {own:.2f} MB of its own", flush=True)


def _private() -> int:
    """KiB that this process shares with no other (proc_pid_smaps(5))."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith(("Private_Clean:", "Private_Dirty:")))


def _measure_keywords(random: Random) -> None:
    print(f"\n{KEYWORDS} keywords")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = sorted({_word(random) + _word(random) for _ in range(KEYWORDS)})
        (folder / "words.txt").write_text("".join(f"*{word}*\n" for word in words))
        source = DomainList("words", path=str(folder / "words.txt"), format="adblock")
        for result in update([source], Store(name), lambda name, share: None):
            print(f"  {result.facts.names if result.facts else 0} names, {result.problem or 'none refused'}")
        path = compile_lists(name, ["words"])
        if path is not None:
            print(f"  opened: {_milliseconds(lambda: open_index(path))}")
            policy = Policy([Rule("words", Verdict.BLOCK, lists=("words",))], names=open_index(path))
            questions = [f"{_word(random)}.{_word(random)}.com" for _ in range(20_000)]
            print(f"  decide, names of {sum(map(len, questions)) / len(questions):.0f} characters: "
                  f"{_percentiles(policy.decide, questions)}")


def _word(random: Random) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz", k=random.randint(4, 10)))


def _milliseconds(work: Callable[[], object]) -> str:
    """Of CPU time, in which the machine's other work does not count."""
    times = []
    for _ in range(100):
        started = thread_time()
        work()
        times.append(thread_time() - started)
    return f"median {median(times) * 1e3:.2f} ms, longest {max(times) * 1e3:.2f} ms"


def _in_child(work: Callable[[], object]) -> None:
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    if status:
        raise RuntimeError(f"the child ended with status {status}")


def _agree(decisions: int, random: Random) -> None:
    """Names, clients and times, thirty to a policy. Ends with exit code 1 at the first that differs."""
    started = perf_counter()
    done = 0
    while done < decisions:
        small = worlds.world(random)
        for _ in range(30):
            asked = worlds.question(random, small)
            expected = reference.decide(small.rules, small.default, small.lists, worlds.INTERFACES, asked)
            small.policy.set_time(asked.now, asked.spent)
            said = small.policy.decide(asked.name, asked.client)
            if (said.verdict, said.rule, said.list) != expected:
                sys.exit(f"after {done}: {asked} of {small}: {said}, and not {expected}")
            done += 1
    print(f"{done} decisions agree, in {perf_counter() - started:.0f} s")


if __name__ == "__main__":
    main()
