"""Heads of HTTP/1 messages."""

from __future__ import annotations


def request(host: str | None, *fields: str, method: str = "GET", target: str = "/", version: str = "1.1",
            eol: str = "\r\n") -> bytes:
    """A request's head (RFC 9112, 3)."""
    lines = [f"{method} {target} HTTP/{version}", *(() if host is None else (f"Host: {host}",)), *fields, "", ""]
    return eol.join(lines).encode("latin-1")


def response(status: str = "200 OK", *fields: str) -> bytes:
    """A response's head (RFC 9112, 4)."""
    return "\r\n".join((f"HTTP/1.1 {status}", *fields, "", "")).encode()
