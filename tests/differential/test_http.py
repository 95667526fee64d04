"""Our reader of requests against nginx, llhttp (Node.js), h11 and Python's http.server.

The rule: whatever request a server answers, we found the host that it takes, or we had called this request or an
earlier one of the flow flawed (which is blocked, fail.malformed), or hold it back until the server has left HTTP.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nfqdpi.core.classifier import Classification, Classify, Glimpse, Pending
from nfqdpi.plugins.http import classifier
from nfqdpi.plugins.http_websocket import FRAMES
from nfqdpi.testing.http import request
from tests.differential.http_peers import Nginx, h11_hosts, llhttp_hosts, nginx, standard_hosts

Hosts = Callable[[bytes], list[bytes]]

# --- samples, whole and broken ---

_REQUESTS = (
    request("a.example"),
    request("a.example", "Content-Length: 5") + b"hello",
    request("a.example", "Transfer-Encoding: chunked", method="POST")
    + b"5\r\nhello\r\na;x=y\r\n0123456789\r\n0\r\nX: y\r\n\r\n",
    request(None, target="http://b.example/x"),
    request("c.example", eol="\n"),
    request("c.example", "X:  y", "Y: z"),
    request(None),
    request("d.example", version="1.0"),
    request("d.example", "Connection: keep-alive", version="1.0"),
    request("a.example", "Connection: close"),
    request("a.example", "Expect: 100-continue", "Content-Length: 3", method="PUT") + b"abc",
    request("a.example", "Upgrade: websocket", "Connection: Upgrade"),
    request(None, method="CONNECT", target="b.example:443"),
    b"GET http://e.example/\r\n",
    b"GET /\r\nHost: e.example\r\n\r\n",
)
_TOKENS = (
    b"\r", b"\n", b"\r\n", b" ", b"\t", b"\0", b":", b"\x0b", b"\x0c", b"\x1c", b"\x85", b"\xa0", b"\x7f", b"\xff",
    b";", b",", b"+1", b"0x5", b"-", b'"', b"@", b"/", b"?", b"#", b"\\", b"%", b"_", b"{", b"(", b"[", b"]", b"[::1]",
    b"*", b"HTTP/1.1", b"RTSP/1.0", b"http://f.example", b"0\r\n\r\n", b"\r\rHost: z.example\r\n",
    b"Host: x.example", b"Host:y.example\r\n", b"Host :z.example\r\n", b" Host: z.example\r\n",
    b"no field\r\n", b"Content-Length : 5\r\n", b"Content-Length: 0\r\n", b"Content-Length: 1\r\n",
    b"Transfer-Encoding: chunked\r\n", b"Transfer-Encoding: identity\r\n",
)


@st.composite
def streams(draw: st.DrawFn) -> bytes:
    """One to three requests on a flow, with a few tokens put in, taken out and exchanged."""
    data = b"".join(draw(st.lists(st.sampled_from(_REQUESTS), min_size=1, max_size=3)))
    for _ in range(draw(st.sampled_from([0, 1, 1, 1, 2, 2, 3, 5]))):
        at = draw(st.integers(0, len(data)))
        if (mark := draw(st.sampled_from([b"", b"", b"", b"\n", b" ", b":", b"/"]))) and mark in data[at:]:
            at = data.index(mark, at) + draw(st.integers(0, 1))  # where a token matters
        data = data[:at] + draw(st.sampled_from((b"", *_TOKENS))) + data[at + draw(st.sampled_from([0, 0, 1, 2, 3])) :]
    return data


# --- the comparison ---


def ours(data: bytes) -> Iterator[Classification | Glimpse]:
    """Every request that we find, up to the first that is flawed or holds back what follows."""
    reader: Classify = classifier.classify
    while data:
        found = reader(data)
        if isinstance(found, Pending):
            return
        if isinstance(found, Classification | Glimpse):
            yield found
        if isinstance(found, Glimpse) or found.then is None or (isinstance(found, Classification) and found.hold):
            return
        data, reader = data[found.length + found.skip :], found.then


def ends(found: Classification | Glimpse) -> bool:
    """True where nothing behind the request passes unless the server has left HTTP."""
    return isinstance(found, Classification) and (bool(found.flaw) or found.hold)


def as_name(host: bytes) -> str:
    """A host from the wire as a Classification has it."""
    host = host.strip().lower()
    if host[:1] == b"[":
        host = host[1:].partition(b"]")[0]
    elif host.count(b":") == 1:
        host = host.partition(b":")[0]
    return host.decode("ascii", "backslashreplace").removesuffix(".")


def compare(data: bytes, hosts: list[bytes]) -> None:
    """The rule."""
    requests = list(ours(data))
    for number, host in enumerate(hosts):
        if any(ends(found) for found in requests[: number + 1]):
            return
        if as_name(host):  # "Host: :" names nobody
            assert number < len(requests), f"a request for {host!r} that we do not see"
            assert as_name(host) in requests[number].names


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nginx]:
    """A real nginx."""
    with nginx(tmp_path_factory.mktemp("nginx")) as running:
        yield running


@given(data=streams())
@settings(max_examples=600, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_nginx_serves_no_more_than_we_see(server: Nginx, data: bytes) -> None:
    """Each virtual host that nginx answers for was found."""
    compare(data, server.hosts(data))


@pytest.mark.parametrize("hosts", [llhttp_hosts, h11_hosts])
@given(data=streams())
@settings(max_examples=600)
def test_readers_find_no_more_than_we(hosts: Hosts, data: bytes) -> None:
    """Node.js's reader and a strict one."""
    compare(data, hosts(data))


# http.server takes the end of the stream for the end of a line and of a head, so that what it answers then is no whole
# request for anybody else. Before that end, the names of whole lines are glimpsed; the last line's is not.
_HALF_CLOSED = "http.server answers half a request when the client stops sending"


@given(data=streams())
@settings(max_examples=600)
def test_pythons_server_answers_no_more_than_we_see(data: bytes) -> None:
    """The most tolerant of all, on whole heads."""
    hosts = standard_hosts(data)
    requests = list(ours(data))
    cut = not requests or (not ends(requests[-1]) and isinstance(requests[-1], Glimpse))
    if cut and data.rpartition(b"\n\n")[2].rpartition(b"\r\n\r\n")[2]:
        hosts = hosts[:-1]  # _HALF_CLOSED
    compare(data, hosts)


def test_half_a_request() -> None:
    """Why the comparison leaves the last one out."""
    half = request("a.example")[:-4]
    assert standard_hosts(half) == [b"a.example"], _HALF_CLOSED
    assert not any(found.names for found in ours(half))


def test_everybody_understands_good_requests(server: Nginx) -> None:
    """The comparison means something: what is well-formed has the same hosts for everybody."""
    flow = b"".join((*_REQUESTS[:3], _REQUESTS[5], request("last.example", "Connection: close")))
    hosts = [b"a.example", b"a.example", b"a.example", b"c.example", b"last.example"]
    for reader in (server.hosts, llhttp_hosts, h11_hosts):
        assert reader(flow) == hosts
    assert [found.names for found in ours(flow)] == [(host.decode(),) for host in hosts]
    assert standard_hosts(_REQUESTS[5]) == [b"c.example"]  # it reads no chunks


@pytest.mark.parametrize("first", sorted(FRAMES))
def test_nobody_takes_a_frame_for_a_request(server: Nginx, first: bytes) -> None:
    """What we let pass for a WebSocket's frame has no host for a server that has stayed with HTTP; it hangs up."""
    for second in range(0x80, 0x100):
        data = first + bytes((second,)) + request("a.example")[3:] + request("a.example") * 2
        assert llhttp_hosts(data) == h11_hosts(data) == standard_hosts(data) == []
        assert second % 16 or server.hosts(data) == []


@pytest.mark.parametrize(("data", "readers"), [
    pytest.param(b"GET http://a.example/\r\n", {"nginx", "standard"}, id="no version, at once"),
    pytest.param(b"GET /\r\nHost: a.example\r\n\r\n", {"nginx", "llhttp", "standard"}, id="no version, with fields"),
    pytest.param(b"GET / RTSP/1.0\r\nHost: a.example\r\n\r\n", {"llhttp"}, id="another version"),
    pytest.param(b"GET\x1c/\x1cHTTP/1.1\r\nHost: a.example\r\n\r\n", {"standard"}, id="Latin-1 blanks"),
    pytest.param(request("a.example", version="1.10"), {"nginx", "standard"}, id="two-digit minor"),
    pytest.param(request("a!$.example"), {"nginx", "llhttp", "h11", "standard"}, id="no host name"),
    pytest.param(request("a.example", "Transfer-Encoding: chunked", version="1.0"), {"llhttp", "h11", "standard"},
                 id="chunks in HTTP/1.0"),
    pytest.param(request("a.example", "Transfer-Encoding: gzip"), {"llhttp", "standard"}, id="not chunked"),
    pytest.param(request("a.example", " folded"), {"h11", "standard"}, id="folded"),
])
def test_what_only_some_take(server: Nginx, data: bytes, readers: set[str]) -> None:
    """We call flawed what some servers answer and others refuse: nobody can tell which one it is."""
    peers: dict[str, Hosts] = {"nginx": server.hosts, "llhttp": llhttp_hosts, "h11": h11_hosts,
                               "standard": standard_hosts}
    assert {name for name, hosts in peers.items() if hosts(data)} == readers
    found = next(ours(data))
    assert isinstance(found, Classification)
    assert found.flaw
