"""Headless Chromium in the lab's client."""

from __future__ import annotations

import base64
import hashlib
import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from nfqdpi.lab.namespace import Namespace

PROGRAM = "chromium"
OPTIONS = (  # nobody's desktop, nobody's account, nothing that a browser does of its own accord
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-default-apps", "--disable-sync",
)
_ERROR = re.compile(r"Page load failed: net::(\w+)")


@dataclass(frozen=True, slots=True)
class Page:
    """What became of a page: its ``text``, or Chromium's name of the ``error``; how long the program ran."""

    text: str
    error: str
    seconds: float


def load(client: Namespace, url: str, server: str, certificate: Path, *options: str, profile: Path | None = None,
         timeout: float = 90) -> Page:
    """Load a page of a server, whatever its name in the URL; no other host resolves, no other is asked.

    ``certificate`` is the server's, to be trusted; ``profile`` keeps what the browser remembers from one load to the
    next: without it, it has never run before.
    """
    name = url.split("/")[2]
    rules = f"MAP {name} {f'[{server}]' if ':' in server else server}, MAP * ~NOTFOUND"
    with TemporaryDirectory(prefix="nfqdpi-browser-", ignore_cleanup_errors=True) as fresh:
        command = [PROGRAM, *OPTIONS, *options, f"--user-data-dir={profile or fresh}",
                   f"--host-resolver-rules={rules}", f"--ignore-certificate-errors-spki-list={_pin(certificate)}",
                   "--dump-dom", url]
        started = time.monotonic()
        done = client.run(command, check=False, timeout=timeout)
        seconds = time.monotonic() - started
    error = _ERROR.search(done.stderr)
    return Page(re.sub(r"<[^>]*>", "", done.stdout).strip(), error[1] if error else "", seconds)


def _pin(certificate: Path) -> str:
    """The hash of a certificate's public key (RFC 7469, 2.4). Chromium takes such a one for a known authority's:
    it would not use HTTP/3 otherwise."""
    key = subprocess.run(["openssl", "x509", "-in", certificate, "-noout", "-pubkey"], capture_output=True, check=True)
    der = subprocess.run(["openssl", "pkey", "-pubin", "-outform", "der"], input=key.stdout, capture_output=True,
                         check=True)
    return base64.b64encode(hashlib.sha256(der.stdout).digest()).decode()
