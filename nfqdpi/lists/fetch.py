"""A list from its file or its server, whole and within its limits, or the reason why not."""

from __future__ import annotations

import gzip
import io
import os
import stat
import time
import zlib
from base64 import b64encode
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.client import HTTPException, HTTPMessage, HTTPResponse
from pathlib import Path
from typing import IO, NamedTuple
from urllib import request
from urllib.error import HTTPError, URLError
from urllib.parse import unquote_to_bytes, urlsplit, urlunsplit

from nfqdpi import __version__
from nfqdpi.config.model import DomainList
from nfqdpi.lists.store import Seen

_PATIENCE = 20.0  # s without a byte
_LONGEST = 600.0  # s in all; a server that sends drop by drop does not keep the lists behind it waiting for ever
_MOST_REDIRECTS = 5
_CHUNK = 1 << 16  # bytes

Progress = Callable[[float], None]  # is told the share that is here, 0 to 1


class SourceError(Exception):
    """Why a source gives no list."""


class Fetched(NamedTuple):
    """The text, unzipped, and what to recognise it by."""

    text: bytes
    seen: Seen


def fetch(source: DomainList, seen: Seen, progress: Progress) -> Fetched | None:
    """None: nothing changed since ``seen`` (an empty one is always fetched). Raises SourceError."""
    if source.url:
        return _from_server(source, seen, progress)
    now = stamp(source.path)
    return None if now == seen != Seen() else Fetched(read_file(Path(source.path), source.max_bytes), now)


def stamp(path: str) -> Seen:
    """Another one when the file has changed; an empty one while it is not there."""
    try:
        file = os.stat(path)
    except OSError:
        return Seen()
    return Seen(f"{file.st_dev:x}-{file.st_ino:x}-{file.st_size:x}-{file.st_mtime_ns:x}")


def read_file(path: Path, limit: int) -> bytes:
    """A file's text, unzipped. Raises SourceError."""
    try:
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise SourceError("it is no regular file")  # a device has no end, and a pipe waits for a writer
            return _gather(iter(lambda: file.read(_CHUNK), b""), limit)
    except OSError as error:
        raise SourceError(error.strerror or str(error)) from error


def _from_server(source: DomainList, seen: Seen, progress: Progress) -> Fetched | None:
    headers = {"User-Agent": f"nfqdpi/{__version__}", "Accept-Encoding": "gzip",
               "If-None-Match": seen.tag, "If-Modified-Since": seen.modified}
    try:
        with _opener().open(_asked(source.url, headers), timeout=_PATIENCE) as response:
            text = _gather(_body(response, progress), source.max_bytes)
            return Fetched(text, Seen(response.headers.get("ETag", ""), response.headers.get("Last-Modified", "")))
    except HTTPError as error:
        with error:
            if error.code == 304:
                return None
            raise SourceError(f"the server answers {error.code} {error.reason.splitlines()[0]}".strip()) from error
    except URLError as error:
        raise SourceError(str(error.reason)) from error
    except TimeoutError as error:
        raise SourceError(f"nothing came for {_PATIENCE:g} s") from error
    except (OSError, HTTPException, ValueError) as error:
        raise SourceError(f"the server's answer broke off: {error!r}") from error


def _asked(url: str, headers: Mapping[str, str]) -> request.Request:
    """The request. A name and a password in the URL become a header (RFC 7617) that no redirect takes elsewhere."""
    parts = urlsplit(url)
    who, _, place = parts.netloc.rpartition("@")
    asked = request.Request(urlunsplit(parts._replace(netloc=place)),  # noqa: S310  http(s), says the configuration
                            headers={key: value for key, value in headers.items() if value})
    if who:
        password = unquote_to_bytes(who if ":" in who else f"{who}:")
        asked.add_unredirected_header("Authorization", f"Basic {b64encode(password).decode()}")
    return asked


def _body(response: HTTPResponse, progress: Progress) -> Iterator[bytes]:
    size, here, end = response.length, 0, time.monotonic() + _LONGEST
    while chunk := response.read1(_CHUNK):
        here += len(chunk)
        if size:
            progress(here / size)
        if time.monotonic() > end:
            raise SourceError(f"it took more than {_LONGEST:g} s")
        yield chunk
    if response.length:  # of what Content-Length had promised
        raise SourceError(f"the answer broke off, {response.length} bytes before its end")


def _gather(chunks: Iterable[bytes], limit: int) -> bytes:
    """All of them, unzipped where they are a gzip file; at most ``limit`` bytes before and after."""
    text = bytearray()
    for chunk in chunks:
        text += chunk
        if len(text) > limit:
            raise SourceError(f"larger than {limit} bytes")
    if not text.startswith(b"\x1f\x8b"):
        return bytes(text)
    try:
        unzipped = gzip.GzipFile(fileobj=io.BytesIO(text)).read(limit + 1)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise SourceError(f"damaged gzip: {error}") from error
    if len(unzipped) > limit:
        raise SourceError(f"larger than {limit} bytes when unzipped")
    return unzipped


class _Redirects(request.HTTPRedirectHandler):
    max_redirections = _MOST_REDIRECTS

    def redirect_request(  # noqa: PLR0913, PLR0917  as urllib calls it
        self, req: request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str,
    ) -> request.Request | None:
        if req.type == "https" and not newurl.startswith("https:"):
            fp.close()
            raise SourceError(f"redirected from https to {newurl[:200]}")  # where anybody on the way could write it
        asked = super().redirect_request(req, fp, code, msg, headers, newurl)
        password = req.get_header("Authorization")
        if asked is not None and password and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            asked.add_unredirected_header("Authorization", password)
        return asked


def _opener() -> request.OpenerDirector:
    """http and https (by a proxy, where the environment names one): a redirect leads to no file, nor to ftp."""
    opener = request.OpenerDirector()
    for part in (request.ProxyHandler(), request.HTTPHandler(), request.HTTPSHandler(), _Redirects(),
                 request.HTTPErrorProcessor(), request.HTTPDefaultErrorHandler(), request.UnknownHandler()):
        opener.add_handler(part)
    return opener
