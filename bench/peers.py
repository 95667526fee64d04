"""What a user would set up instead, from Debian's packages: each as its own documentation says for a gateway.

None of them writes a line for each flow, as nfqdpi does. The proxies make the server's side of a flow from an address
of the gateway's: on a router they would be behind its NAT anyway, and it saves them a second set of rules.
"""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.ground import BLOCKED, SERVERS, Ground, stop
from nfqdpi.lab.namespace import LabError

HTTP, HTTPS = 8080, 8443  # where the proxies listen

# Documentation/networking/tproxy.rst in the kernel's source.
_TPROXY = f"""\
*mangle
:DIVERT - [0:0]
-A DIVERT -j MARK --set-mark 1
-A DIVERT -j ACCEPT
-A PREROUTING -i lan0 -p tcp -m socket -j DIVERT
-A PREROUTING -i lan0 -p tcp --dport 80 -j TPROXY --on-port {HTTP} --tproxy-mark 1/1
-A PREROUTING -i lan0 -p tcp --dport 443 -j TPROXY --on-port {HTTPS} --tproxy-mark 1/1
COMMIT
"""
_REDIRECT = f"""\
*nat
-A PREROUTING -i lan0 -p tcp --dport 80 -j REDIRECT --to-ports {HTTP}
-A PREROUTING -i lan0 -p tcp --dport 443 -j REDIRECT --to-ports {HTTPS}
COMMIT
"""
_NONE = "*mangle\nCOMMIT\n*nat\nCOMMIT\n*filter\nCOMMIT\n"

# nginx cannot listen on a transparent socket, so TPROXY is out and the client's destination is lost: where a flow goes
# is found by its name. A resolver's work is saved it here by a list of the servers. It keeps no flows to them open for
# the next client: with the whole web behind the gateway, by names that come with the requests, it could not either.
_NGINX = """\
load_module /usr/lib/nginx/modules/ngx_stream_module.so;
daemon off;
worker_processes {workers};
user www-data;
pid {here}/pid;
error_log {here}/error.log;
events {{ worker_connections 8000; }}
stream {{
    map_hash_max_size 4000000;
    map_hash_bucket_size 128;
    upstream servers {{ {https} }}
    map $ssl_preread_server_name $to {{
        hostnames;
        default servers;
        include {here}/names;
    }}
    server {{
        listen {HTTPS} backlog=65535;
        ssl_preread on;
        proxy_pass $to;
    }}
    server {{
        listen unix:{here}/nowhere;
        return "";
    }}
    upstream nowhere {{ server unix:{here}/nowhere; }}
}}
http {{
    access_log off;
    map_hash_max_size 4000000;
    map_hash_bucket_size 128;
    upstream servers {{ {http} }}
    map $host $to {{
        hostnames;
        default servers;
        include {here}/names;
    }}
    server {{
        listen {HTTP} backlog=65535;
        keepalive_requests 100000;
        client_max_body_size 0;
        proxy_request_buffering off;
        location / {{
            if ($to = nowhere) {{ return 444; }}
            proxy_set_header Host $host;
            proxy_pass http://servers;
        }}
    }}
}}
"""

_HAPROXY = """\
global
    nbthread {workers}
    maxconn 8000
defaults
    mode tcp
    timeout connect 5s
    timeout client 60s
    timeout server 60s
    source 0.0.0.0
frontend http
    bind :{HTTP} transparent
    tcp-request inspect-delay 5s
    tcp-request content reject if {{ req.hdr(host) -m str -f {here}/names }}
    tcp-request content accept if HTTP
    default_backend origin
frontend https
    bind :{HTTPS} transparent
    tcp-request inspect-delay 5s
    tcp-request content reject if {{ req.ssl_sni -m str -f {here}/names }}
    tcp-request content accept if {{ req.ssl_hello_type 1 }}
    default_backend origin
backend origin
    server whither 0.0.0.0:0
"""

_SQUID = """\
http_port 3128
http_port {HTTP} tproxy
https_port {HTTPS} tproxy ssl-bump tls-cert={here}/ca.pem generate-host-certificates=off
workers {workers}
acl named dstdomain "{here}/names"
acl sni ssl::server_name "{here}/names"
acl hello at_step SslBump1
http_access deny named
http_access allow all
ssl_bump peek hello
ssl_bump terminate sni
ssl_bump splice all
hosts_file {here}/hosts
dns_nameservers 127.0.0.1
dns_timeout 1 seconds
host_verify_strict off
cache deny all
cache_mem 8 MB
access_log none
cache_log {here}/cache.log
cache_store_log none
pid_filename {here}/pid
coredump_dir {here}
netdb_filename none
pinger_enable off
via off
spoof_client_ip deny all
shutdown_lifetime 0 seconds
max_filedescriptors 16384
cache_effective_user proxy
"""


@contextmanager
def _rules(ground: Ground, text: str) -> Iterator[None]:
    """Firewall rules, and the route by which TPROXY's packets come to a process here."""
    ground.gateway.configure("rule add fwmark 1/1 lookup 100", "route add local default dev lo table 100")
    ground.gateway.run(["iptables-restore"], stdin=text)
    try:
        yield
    finally:
        ground.gateway.run(["iptables-restore"], stdin=_NONE)
        ground.gateway.configure("rule del fwmark 1/1 lookup 100", "route flush table 100")


@contextmanager
def string(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    """Ten rules for ten names, however many there are: each is a search through every packet."""
    reject = "-j REJECT --reject-with tcp-reset"
    lines = [f'-A FORWARD -p tcp -m multiport --dports 80,443 -m string --algo bm --string "{name}" {reject}'
             for name in BLOCKED]
    with _rules(ground, "\n".join(("*filter", *lines, "COMMIT", ""))):
        yield


@contextmanager
def nginx(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    here = _folder(ground, "nginx")
    (here / "names").write_text("".join(f".{name} nowhere;\n" for name in names.read_text().split()))
    servers = {scheme: " ".join(f"server {server}:{port};" for server in SERVERS)
               for scheme, port in (("http", 80), ("https", 443))}
    (here / "conf").write_text(_NGINX.format(here=here, workers=workers, HTTP=HTTP, HTTPS=HTTPS, **servers))
    with _proxy(ground, _REDIRECT, "nginx", "-p", str(here), "-c", str(here / "conf"), "-e", str(here / "error.log")):
        yield


@contextmanager
def haproxy(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    here = _folder(ground, "haproxy")
    (here / "names").write_text(names.read_text())
    (here / "conf").write_text(_HAPROXY.format(here=here, workers=workers, HTTP=HTTP, HTTPS=HTTPS))
    with _proxy(ground, _TPROXY, "haproxy", "-W", "-f", str(here / "conf")):
        yield


@contextmanager
def squid(ground: Ground, names: Path, workers: int) -> Iterator[None]:
    here = _folder(ground, "squid")
    (here / "names").write_text("".join(f".{name}\n" for name in names.read_text().split()))
    # It checks that a name has the address that the client goes to: the answers are at hand.
    (here / "hosts").write_text("".join(f"{SERVERS[n % len(SERVERS)]} {letter}{n:06}.example\n"
                                        for letter in "xb" for n in range(1000)))
    ground.gateway.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=squid", "-keyout",
                        here / "ca.pem", "-out", here / "ca.crt"])
    with (here / "ca.pem").open("a") as file:
        file.write((here / "ca.crt").read_text())
    (here / "conf").write_text(_SQUID.format(here=here, workers=workers, HTTP=HTTP, HTTPS=HTTPS))
    ground.gateway.run(["chown", "-R", "proxy", here])
    with _proxy(ground, _TPROXY, "squid", "-N" if workers == 1 else "--foreground", "-f", str(here / "conf")):
        yield


def _folder(ground: Ground, name: str) -> Path:
    """Readable for the users that the programs become."""
    here = ground.state / name
    here.mkdir(exist_ok=True)
    return here


@contextmanager
def _proxy(ground: Ground, rules: str, *command: str) -> Iterator[None]:
    process = ground.start(ground.gateway, command, ready="", log=command[0])
    try:
        _await_listening(ground, process, ground.state / f"{command[0]}.log")
        with _rules(ground, rules):
            yield
    finally:
        stop(process)


def _await_listening(ground: Ground, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 60
    while not all(f":{port} " in ground.gateway.run(["ss", "-Hltn"]).stdout for port in (HTTP, HTTPS)):
        if process.poll() is not None or time.monotonic() > deadline:
            raise LabError(f"nothing listens:\n{log.read_text(errors='backslashreplace')}")
        time.sleep(0.05)
