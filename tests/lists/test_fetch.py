"""Fetching from real files and a real server: what comes back, and every way in which nothing does."""

from __future__ import annotations

import gzip
import os
import socket
import subprocess
import time
from base64 import b64encode
from http.server import BaseHTTPRequestHandler
from pathlib import Path

import pytest

from nfqdpi.config.model import DomainList
from nfqdpi.lists import fetch as fetching
from nfqdpi.lists.fetch import Fetched, SourceError, fetch, stamp
from nfqdpi.lists.store import Seen
from tests.lists.server import Server, serving

LIST = b"".join(b"0.0.0.0 name%d.example\n" % n for n in range(20_000))


def get(url: str, seen: Seen = Seen(), max_bytes: int = 1 << 20) -> Fetched | None:  # noqa: B008  frozen
    return fetch(DomainList(name="x", url=url, max_bytes=max_bytes), seen, lambda _: None)


def problem(url: str, max_bytes: int = 1 << 20) -> str:
    with pytest.raises(SourceError) as caught:
        get(url, max_bytes=max_bytes)
    return str(caught.value)


def test_a_text_that_is_known_is_not_sent_again(server: Server) -> None:
    """The server hears the ETag and the date that it gave."""
    url = server.give("/ads", LIST, headers={"Last-Modified": "Tue, 03 Nov 2026 08:00:00 GMT"})
    first = get(url)
    assert first is not None
    assert first.text == LIST
    assert get(url, first.seen) is None
    assert server.asked[1][1]["If-Modified-Since"] == "Tue, 03 Nov 2026 08:00:00 GMT"
    server.give("/ads", LIST + b"0.0.0.0 new.example\n")
    assert get(url, first.seen) != first


def test_progress_is_told(server: Server) -> None:
    """From something to all, upwards, where the server says how much there is."""
    shares: list[float] = []
    fetch(DomainList(name="x", url=server.give("/ads", LIST)), Seen(), shares.append)
    assert shares == sorted(shares)
    assert (len(shares) > 1, shares[-1]) == (True, 1.0)


@pytest.mark.parametrize("headers", [{"Content-Encoding": "gzip"}, {"Content-Type": "application/gzip"}])
def test_gzip(server: Server, headers: dict[str, str]) -> None:
    """Is unzipped, whether the server says so or the file is one; also in several members."""
    found = get(server.give("/ads.gz", gzip.compress(LIST[:1000]) + gzip.compress(LIST[1000:]), headers=headers))
    assert found is not None
    assert found.text == LIST


def test_a_gzip_bomb_ends_at_the_limit(server: Server) -> None:
    """A gigabyte in a megabyte is not unzipped."""
    bomb = b"".join([gzip.compress(bytes(1 << 20))] * 1000)
    assert problem(server.give("/bomb", bomb), 2 << 20) == "larger than 2097152 bytes when unzipped"
    assert problem(server.give("/half", gzip.compress(LIST)[:-9])).startswith("damaged gzip")
    assert problem(server.give("/bad", b"\x1f\x8b nonsense")).startswith("damaged gzip")


def test_too_large(server: Server) -> None:
    """The limit holds while the answer comes, whatever its header says; as much as the limit is taken."""
    assert problem(server.give("/big", LIST), len(LIST) - 1) == f"larger than {len(LIST) - 1} bytes"
    assert get(server.give("/big", LIST), max_bytes=len(LIST)) is not None

    def endless(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            while True:
                request.wfile.write(LIST)
        except OSError:
            pass

    server.answers["/endless"] = endless
    assert problem(server.base + "/endless") == "larger than 1048576 bytes"


@pytest.mark.parametrize("status", [403, 404, 500, 503])
def test_an_error_of_the_server(server: Server, status: int) -> None:
    """Is the reason."""
    assert problem(server.give("/gone", b"sorry", status=status)).startswith(f"the server answers {status} ")


def test_an_answer_that_breaks_off(server: Server) -> None:
    """Is not taken for a short list: by its length, or by the chunk that is missing."""
    assert "broke off" in problem(server.give("/cut", LIST, headers={"Content-Length": str(len(LIST) + 7)}))

    def chunked(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.send_header("Transfer-Encoding", "chunked")
        request.end_headers()
        request.wfile.write(b"10\r\n0.0.0.0 a.exampl")

    server.answers["/chunk"] = chunked
    assert "broke off" in problem(server.base + "/chunk")


def test_redirects(server: Server) -> None:
    """Are followed, a few of them, and only to where a list may come from."""
    server.give("/ads", LIST)
    found = get(server.redirect("/old", "/ads"))
    assert found is not None
    assert found.text == LIST
    assert problem(server.redirect("/round", "/round")).startswith("the server answers 302")
    assert "ftp" in problem(server.redirect("/ftp", "ftp://127.0.0.1/ads"))
    assert problem(server.redirect("/file", "file:///etc/hosts"))


def test_a_password(server: Server) -> None:
    """Goes to the server whose URL has it, also where that redirects to itself, and to no other."""
    server.give("/ads", LIST)
    with serving() as other:
        away = other.give("/ads", LIST)
        for path, to in (("/ads", ""), ("/here", "/ads"), ("/away", away)):
            if to:
                server.redirect(path, to)
            assert get(f"{server.base}{path}".replace("//", "//me:p%40ss@")) is not None
        basic = "Basic " + b64encode(b"me:p@ss").decode()
        assert [(path, headers.get("Authorization")) for path, headers in server.asked] == [
            ("/ads", basic), ("/here", basic), ("/ads", basic), ("/away", basic)]
        assert [headers.get("Authorization") for _, headers in other.asked] == [None]
    assert get(server.base.replace("//", "//me@") + "/ads") is not None
    assert server.asked[-1][1]["Authorization"] == "Basic " + b64encode(b"me:").decode()


def test_a_redirect_does_not_leave_tls(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What https has promised, nobody on the way takes back; a certificate that nobody knows is the reason."""
    pem = tmp_path / "server.pem"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
                    "-subj", "/CN=list", "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out",
                    tmp_path / "cert"], check=True, capture_output=True)
    pem.write_bytes(pem.read_bytes() + (tmp_path / "cert").read_bytes())
    with serving(pem) as safe:
        safe.give("/ads", LIST)
        assert "certificate" in problem(safe.base + "/ads")
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert"))
        assert get(safe.redirect("/old", "/ads")) == get(safe.base + "/ads")
        assert problem(safe.redirect("/plain", server.give("/ads", LIST))) == (
            f"redirected from https to {server.base}/ads")


def test_a_server_that_is_slow(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """Is waited for so long, and so long in all."""
    def drops(request: BaseHTTPRequestHandler) -> None:
        request.send_response(200)
        request.end_headers()
        try:
            for _ in range(1000):
                request.wfile.write(b"a.example\n")
                time.sleep(0.01)
        except OSError:
            pass

    server.answers["/drops"] = drops
    monkeypatch.setattr(fetching, "_LONGEST", 0.1)
    assert problem(server.base + "/drops") == "it took more than 0.1 s"
    monkeypatch.setattr(fetching, "_PATIENCE", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert "nothing came for 0.1 s" in problem(f"http://127.0.0.1:{silent.getsockname()[1]}/")


def test_no_server() -> None:
    """The reason is the system's."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    assert "refused" in problem(f"http://127.0.0.1:{port}/")
    assert problem("http://127.0.0.1:no/")
    assert problem("http://[/")


def test_a_file(tmp_path: Path) -> None:
    """Is read when it has changed since; what has no end, or is not there, is not."""
    path = tmp_path / "ads"
    path.write_bytes(gzip.compress(LIST))
    source = DomainList(name="x", path=str(path), max_bytes=1 << 20)
    first = fetch(source, Seen(), lambda _: None)
    assert first == Fetched(LIST, stamp(str(path)))
    assert fetch(source, stamp(str(path)), lambda _: None) is None
    os.mkfifo(tmp_path / "pipe")
    for name, why in (("none", "No such file"), ("", "directory"), ("pipe", "no regular file")):
        with pytest.raises(SourceError, match=why):
            fetch(DomainList(name="x", path=str(tmp_path / name)), Seen(), lambda _: None)
    with pytest.raises(SourceError, match="no regular file"):
        fetch(DomainList(name="x", path="/dev/zero"), Seen(), lambda _: None)
