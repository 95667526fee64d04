"""Headless Chromium in the lab's client."""

from __future__ import annotations

import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nfqdpi.lab.namespace import Namespace

PROGRAM = "chromium"
_OPTIONS = (  # nobody's desktop, nobody's account, nothing that a browser does of its own accord
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync",
    "--ignore-certificate-errors",
)
_ERROR = re.compile(r"Page load failed: net::(\w+)")


@dataclass(frozen=True, slots=True)
class Page:
    """What became of a page: its ``text``, or Chromium's name of the ``error``; how long the program ran."""

    text: str
    error: str
    seconds: float


def installed() -> bool:
    """True where there is a Chromium."""
    return shutil.which(PROGRAM) is not None


def load(client: Namespace, url: str, server: str, *options: str, profile: Path | None = None,
         timeout: float = 60) -> Page:
    """Load a page of a server, whatever its name in the URL; no other host resolves, no other is asked.

    ``profile`` keeps what the browser remembers from one load to the next; without it, it has never run before.
    """
    name = url.split("/")[2]
    rules = f"MAP {name} {f'[{server}]' if ':' in server else server}, MAP * ~NOTFOUND"
    with TemporaryDirectory(prefix="nfqdpi-browser-", ignore_cleanup_errors=True) as fresh:
        command = [PROGRAM, *_OPTIONS, *options, f"--user-data-dir={profile or fresh}",
                   f"--host-resolver-rules={rules}", "--dump-dom", url]
        started = time.monotonic()
        done = client.run(command, check=False, timeout=timeout)
        seconds = time.monotonic() - started
    error = _ERROR.search(done.stderr)
    return Page(re.sub(r"<[^>]*>", "", done.stdout).strip(), error[1] if error else "", seconds)
