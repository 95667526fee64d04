"""The server side: a real nginx with HTTP on port 80 and TLS on port 443, both for any name."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from nfqdpi.lab.namespace import Namespace

BIG_FILE = "100MB"
BIG_FILE_BYTES = 100_000_000

# Every path is the lab's own, so that neither an nginx of this machine nor its configuration is touched.
_CONFIG = """\
worker_processes 1;
user www-data;
pid {here}/pid;
error_log {here}/error.log;
events {{ worker_connections 4096; }}
http {{
    log_format json escape=json '{{"host":"$host","sni":"$ssl_server_name","server_addr":"$server_addr",'
        '"client_port":$remote_port,"request":"$request","status":$status,"bytes":$body_bytes_sent,'
        '"http2":"$http2"}}';
    access_log {here}/access.log json;
    client_body_temp_path {here}/body;
    proxy_temp_path {here}/proxy;
    fastcgi_temp_path {here}/fastcgi;
    uwsgi_temp_path {here}/uwsgi;
    scgi_temp_path {here}/scgi;
    ssl_protocols TLSv1.2 TLSv1.3;
    ssl_ecdh_curve X25519:prime256v1;  # few: a client that guesses another one is told by HelloRetryRequest
    add_header Alt-Svc 'h3=":443"; ma=86400' always;  # as many servers do; browsers then try UDP
    sendfile on;
    keepalive_timeout 60;  # longer than a client on a bad link needs for its next request
    lingering_timeout 60;  # and for the rest of an upload
    server {{
        listen 80 default_server backlog=4096;
        listen [::]:80 default_server ipv6only=on backlog=4096;
        listen 443 default_server ssl http2 backlog=4096;
        listen [::]:443 default_server ipv6only=on ssl http2 backlog=4096;
        ssl_certificate {here}/server.pem;
        ssl_certificate_key {here}/server.key;
        root {here}/root;
        location = / {{ return 200 "hello from $host\\n"; }}
    }}
}}
"""


class WebServer:
    """nginx in a namespace, with its files in ``here``; listening once made. It ends with its namespace.

    Its certificate names all of ``names``; a client that trusts ``ca`` accepts it.
    """

    def __init__(self, namespace: Namespace, here: Path, names: Iterable[str]) -> None:
        self.here = here
        self.ca = here / "ca.pem"
        self.certificate = here / "server.pem"
        root = here / "root"
        root.mkdir(parents=True)
        with (root / BIG_FILE).open("wb") as big:
            os.truncate(big.fileno(), BIG_FILE_BYTES)  # sparse: it takes no room
        self._make_certificates(namespace, names)
        config = here / "nginx.conf"
        config.write_text(_CONFIG.format(here=here))
        namespace.run(["nginx", "-p", here, "-c", config, "-e", here / "error.log"])  # returns once it listens

    def requests(self) -> list[dict[str, Any]]:
        """What the access log holds, oldest first."""
        return [json.loads(line) for line in (self.here / "access.log").read_text().splitlines()]

    def _make_certificates(self, namespace: Namespace, names: Iterable[str]) -> None:
        make = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                "-days", "30"]
        authority = self.here / "ca.key"
        namespace.run([*make, "-subj", "/CN=nfqdpi lab CA", "-keyout", authority, "-out", self.ca])
        namespace.run([*make, "-subj", "/CN=nfqdpi lab", "-CA", self.ca, "-CAkey", authority,
                       "-addext", "basicConstraints=critical,CA:FALSE",
                       "-addext", "subjectAltName=" + ",".join(f"DNS:{name}" for name in names),
                       "-keyout", self.here / "server.key", "-out", self.certificate])
