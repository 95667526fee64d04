"""Writes down the QUIC datagrams of the browsers on this machine: `.venv/bin/python -m tests.data.capture_initials`.

Each is told that a name speaks HTTP/3 at a local port where nobody answers, so that it sends its Initials, and sends
them again. The samples are kept as they are (`initials/*.bin`, each datagram behind its length in two bytes):
`tests/plugins/test_initials.py` says what stands in them.
"""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from nfqdpi.testing.tls import vector
from tests.kernel.browser import OPTIONS

HERE = Path(__file__).parent / "initials"
NAME = "allowed.example"
_SECONDS = 8  # to start, to ask, and to ask again


def chromium(home: Path, port: int) -> list[str]:
    """The command that asks."""
    return ["chromium", *OPTIONS, f"--user-data-dir={home}", f"--origin-to-force-quic-on={NAME}:{port}",
            f"--host-resolver-rules=MAP {NAME} 127.0.0.1", "--dump-dom", f"https://{NAME}:{port}/"]


def firefox(home: Path, port: int) -> list[str]:
    """The command that asks."""
    settings = {"network.http.http3.alt-svc-mapping-for-testing": f'"{NAME};h3=:{port}"',
                "network.http.http3.force-use-alt-svc-mapping-for-testing": "true",
                "network.dns.forceResolve": '"127.0.0.1"'}
    (home / "user.js").write_text("".join(f'user_pref("{name}", {value});\n' for name, value in settings.items()))
    return ["firefox-esr", "--headless", "--no-remote", "--profile", str(home), f"https://{NAME}/"]


def sample(command: Callable[[Path, int], list[str]]) -> list[bytes]:
    """The datagrams from the first port that speaks QUIC."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sink, \
            TemporaryDirectory(ignore_cleanup_errors=True) as home:
        sink.bind(("127.0.0.1", 0))
        sink.settimeout(0.5)
        program = subprocess.Popen(command(Path(home), sink.getsockname()[1]), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        got: dict[int, list[bytes]] = {}
        end = time.monotonic() + _SECONDS
        while time.monotonic() < end:
            with suppress(TimeoutError):
                datagram, sender = sink.recvfrom(65536)
                got.setdefault(sender[1], []).append(datagram)
        program.terminate()
        program.wait()
    return next(iter(got.values()), [])


def main() -> None:
    HERE.mkdir(exist_ok=True)
    for command in (chromium, firefox):
        if datagrams := sample(command):
            (HERE / f"{command.__name__}.bin").write_bytes(b"".join(vector(2, datagram) for datagram in datagrams))
        print(f"{command.__name__}: {len(datagrams)} datagrams")


if __name__ == "__main__":
    main()
