"""Who may import whom (the package's imports run one way)."""

from __future__ import annotations

import ast
import sys
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "nfqdpi"
IMPURE = {"time", "datetime", "os", "socket", "logging", "random", "secrets", "threading", "asyncio", "subprocess",
          "pathlib", "io", "tempfile", "signal", "select"}
ALLOWED = {
    "core": {"nfqdpi.core", "mypy_extensions"},  # the second for the compiler alone
    "plugins": {"nfqdpi.core.classifier", "nfqdpi.core.observer", "nfqdpi.core.plugin", "nfqdpi.core.verdict",
                "nfqdpi.core.wire", "cryptography", "msgspec", "nfqdpi.plugins.checked",
                "nfqdpi.plugins.dns_answer", "nfqdpi.plugins.dns_message", "nfqdpi.plugins.dns_names",
                "nfqdpi.plugins.http_answer", "nfqdpi.plugins.http_body", "nfqdpi.plugins.http_line",
                "nfqdpi.plugins.http_ordinary", "nfqdpi.plugins.http_websocket", "nfqdpi.plugins.ja4",
                "nfqdpi.plugins.quic_packet", "nfqdpi.plugins.tls_hello",
                "nfqdpi.plugins.tls_server_name",  # parts of plugins
                "mypy_extensions"},  # types alone
    "policy": {"nfqdpi.core.decision", "nfqdpi.core.memo", "nfqdpi.core.verdict", "nfqdpi.policy", "ahocorasick",
               "idna", "marisa_trie", "publicsuffixlist"},
}


@cache
def imports(path: Path) -> frozenset[str]:
    """Every module that a file imports, wherever in it."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            found.add(str(node.module))
    return frozenset(found)


def files(room: str) -> list[Path]:
    return sorted((PACKAGE / room).rglob("*.py"))


@pytest.mark.parametrize("path", [path for room in ALLOWED for path in files(room)],
                         ids=lambda path: str(path.relative_to(PACKAGE)))
def test_a_room_imports_what_it_may(path: Path) -> None:
    """Core, plugins and policy import the standard library and what is listed above; nothing that is the world.
    (Schedules reckon in dates; the clock is not theirs.)"""
    room = path.relative_to(PACKAGE).parts[0]
    for module in imports(path):
        top = module.partition(".")[0]
        listed = any(module == name or module.startswith(f"{name}.") for name in ALLOWED[room])
        pure = top in sys.stdlib_module_names and top not in IMPURE
        assert listed or pure or (room, top) == ("policy", "datetime"), module


def test_the_core_calls_nothing_of_the_world() -> None:
    """Neither files nor input: what needs no import is not used either."""
    for path in files("core"):
        calls = {node.func.id for node in ast.walk(ast.parse(path.read_text()))
                 if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}
        assert not calls & {"open", "print", "input", "exec", "eval", "__import__"}, path


@pytest.mark.parametrize(("room", "above"), [
    ("kernel", {"config", "assemble", "daemon", "replay", "lab", "doctor", "cli"}),
    ("config", {"assemble", "kernel", "daemon", "replay", "lab", "doctor", "cli"}),
    ("importers", {"assemble", "kernel", "daemon", "replay", "lab", "doctor", "cli"}),
    ("lists", {"assemble", "kernel", "daemon", "replay", "lab", "doctor", "cli"}),
    ("state", {"assemble", "lists", "kernel", "daemon", "replay", "lab", "doctor", "cli"}),
    ("daemon", {"replay", "lab", "doctor", "cli"}),
    ("replay", {"kernel", "daemon", "lab", "doctor", "cli", "testing"}),
    ("testing", {"kernel", "daemon", "lab", "doctor", "cli"}),
    ("lab", {"daemon", "replay", "doctor", "cli"}),
])
def test_no_room_imports_one_above_it(room: str, above: set[str]) -> None:
    """Command line, daemon, kernel, core: whoever is asked does not know who asks."""
    for path in files(room):
        for module in imports(path):
            assert not (module.startswith("nfqdpi.") and module.split(".")[1] in above), (path, module)


@pytest.mark.parametrize(("library", "places"), [
    ("netfilterqueue", "kernel/queue.py"), ("pyroute2", "kernel/links.py"), ("scapy", "replay/captures.py"),
    ("ahocorasick", "policy/names.py"), ("cryptography", "plugins/quic_packet.py testing/quic.py"),
    ("idna", "policy/names.py"), ("hypothesis", "testing/scatter.py"), ("pytest", "pytest_plugin.py"),
    ("marisa_trie", "policy/index.py"), ("publicsuffixlist", "policy/suffixes.py"), ("yaml", "importers/adguard.py"),
])
def test_a_library_has_one_door(library: str, places: str) -> None:
    """Each outside thing is imported in one file, so that only one file knows its ways. (Tests of QUIC seal what the
    reader opens. The model of a plugin is a package of its own.)"""
    users = [str(path.relative_to(PACKAGE)) for path in files(".") if "greeting" not in path.parts
             and any(module.partition(".")[0] == library for module in imports(path))]
    assert set(users) <= set(places.split())
