"""Other readers of ClientHellos: what name does each find in a client's first bytes?"""

from __future__ import annotations

import ssl
import sys
from dataclasses import dataclass

from aioquic._buffer import Buffer, BufferReadError
from aioquic.tls import Alert, pull_client_hello
from OpenSSL import SSL


@dataclass(frozen=True, slots=True)
class Saw:
    """``asked``: the server came as far as to look for its certificate, with this ``name`` or without any;
    ``error``: why it did not come further."""

    asked: bool = False
    name: bytes | None = None
    error: str = ""


def system_openssl(data: bytes) -> Saw:
    """The OpenSSL that Python is linked with, which is the system's: nginx uses it, too."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.set_ciphers("ALL:@SECLEVEL=0")
    seen: list[bytes | None] = []

    def named(_: object, name: str | None, __: object) -> None:
        seen.append(None if name is None else name.encode())

    context.sni_callback = named
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    incoming.write(data)
    error = ""
    hook, sys.unraisablehook = sys.unraisablehook, lambda _: None  # it cannot decode a name that is not ASCII
    try:
        context.wrap_bio(incoming, outgoing, server_side=True).do_handshake()
    except ssl.SSLError as raised:
        error = raised.reason or ""
    finally:
        sys.unraisablehook = hook
    if not seen and error == "CALLBACK_FAILED":
        return Saw(True, b"\xff", error)
    return Saw(bool(seen), seen[0] if seen else None, error)


def new_openssl(data: bytes) -> Saw:
    """The OpenSSL that comes with the cryptography package: a current one."""
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_cipher_list(b"ALL:@SECLEVEL=0")
    seen: list[bytes | None] = []
    context.set_tlsext_servername_callback(lambda server: seen.append(server.get_servername()))
    server = SSL.Connection(context, None)
    server.set_accept_state()
    server.bio_write(data)
    error = ""
    try:
        server.do_handshake()
    except SSL.WantReadError:
        pass
    except SSL.Error as raised:
        error = raised.args[0][0][2] if raised.args and raised.args[0] else "closed"
    return Saw(bool(seen), seen[0] if seen else None, error)


def aioquic(message: bytes) -> Saw:
    """aioquic's parser, strict and for TLS 1.3 only. It reads a handshake message, not records."""
    try:
        hello = pull_client_hello(Buffer(data=message))
    except (Alert, AssertionError, BufferReadError, ValueError) as raised:
        return Saw(error=str(raised) or type(raised).__name__)
    return Saw(True, None if hello.server_name is None else hello.server_name.encode())
