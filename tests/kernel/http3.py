"""HTTP/3 by aioquic: a server that writes down what it read, and a client that says how it fared."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections import defaultdict
from functools import partial
from pathlib import Path
from typing import Any, Self

from aioquic._buffer import Buffer
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.asyncio.server import QuicServer
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.connection import QuicConnection
from aioquic.quic.events import HandshakeCompleted, ProtocolNegotiated, QuicEvent
from aioquic.quic.packet import QuicProtocolVersion
from aioquic.tls import pull_client_hello

from nfqdpi.lab.namespace import Namespace
from nfqdpi.lab.network import SERVER, Family

V1, V2 = QuicProtocolVersion.VERSION_1, QuicProtocolVersion.VERSION_2
_LONG = 0x80  # the first bit of a packet with a long header (RFC 9000, 17.2)
_SO_RCVBUFFORCE, _BUFFER = 33, 16 << 20  # asm-generic/socket.h; bytes: it is slow, and clients by hand send once
_MOST_HANDSHAKE = 60.0  # s; longer than any test waits


class Http3Origin:
    """Listens on UDP port 443 of both addresses and says hello to each authority that is asked for.

    By the client's port: ``datagrams`` counts what came, ``heard`` is what TLS was given of handshakes, put together by
    the server itself, ``hellos`` are the names of those that were whole, ``asked`` the authorities of requests.
    """

    def __init__(self, server: Namespace, certificate: Path, key: Path, *, addresses: dict[Family, str] = SERVER,
                 versions: tuple[int, ...] = (V1, V2), retry: bool = False) -> None:
        self.datagrams: defaultdict[int, int] = defaultdict(int)
        self.heard: defaultdict[int, bytes] = defaultdict(bytes)
        self.hellos: defaultdict[int, list[str | None]] = defaultdict(list)
        self.asked: defaultdict[int, list[str]] = defaultdict(list)
        self.settings = QuicConfiguration(is_client=False, alpn_protocols=H3_ALPN, supported_versions=list(versions))
        self.settings.load_cert_chain(certificate, key)
        self.retry = retry
        self._listening: list[QuicServer] = []
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(lambda *_: None)  # of what clients make it meet, it tells elsewhere
        with server.entered():
            for address in addresses.values():
                self._loop.run_until_complete(self._listen(address))
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    @property
    def names(self) -> list[str | None]:
        """Of every whole hello."""
        return [name for names in list(self.hellos.values()) for name in names]

    @property
    def authorities(self) -> list[str]:
        """Of every request."""
        return [name for names in list(self.asked.values()) for name in names]

    def said(self, port: int) -> list[str]:
        """What is known of a client, a line each."""
        return [*(f"SNI {name}" for name in self.hellos[port]), *(f"GET {name}" for name in self.asked[port])]

    async def _listen(self, address: str) -> None:
        transport, listening = await self._loop.create_datagram_endpoint(lambda: _Listening(self), (address, 443))
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, _SO_RCVBUFFORCE, _BUFFER)
        self._listening.append(listening)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._stop)
        self._thread.join()
        self._loop.close()

    def _stop(self) -> None:
        for listening in self._listening:
            listening.close()
        self._loop.call_soon(self._loop.stop)  # behind what closing puts off

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Listening(QuicServer):
    """One of the origin's sockets."""

    def __init__(self, origin: Http3Origin) -> None:
        super().__init__(configuration=origin.settings, create_protocol=partial(_Answering, origin), retry=origin.retry)
        self._origin = origin

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self._origin.datagrams[addr[1]] += 1
        super().datagram_received(data, addr)


class _Answering(QuicConnectionProtocol):
    """One connection of a client's."""

    def __init__(self, origin: Http3Origin, quic: QuicConnection, stream_handler: Any = None) -> None:
        super().__init__(quic, stream_handler)
        self._origin = origin
        self._port = 0
        self._http: H3Connection | None = None
        begin = quic._initialize

        def begin_noting(peer_cid: bytes) -> None:
            begin(peer_cid)
            read, whole = quic.tls.handle_message, bytearray()

            def note(data: bytes, buffers: Any) -> None:
                whole.extend(data)
                self._origin.heard[self._port] += data
                if whole[:1] == b"\x01" and len(whole) >= 4 + int.from_bytes(whole[1:4], "big"):
                    self._origin.hellos[self._port].append(pull_client_hello(Buffer(data=bytes(whole))).server_name)
                    whole.clear()
                read(data, buffers)

            quic.tls.handle_message = note  # type: ignore[method-assign,assignment]

        quic._initialize = begin_noting  # type: ignore[method-assign]

    def datagram_received(self, data: bytes | str, addr: Any) -> None:
        self._port = addr[1]
        super().datagram_received(data, addr)

    def quic_event_received(self, event: QuicEvent) -> None:
        if isinstance(event, ProtocolNegotiated):
            self._http = H3Connection(self._quic)
        if (http := self._http) is None:
            return
        for one in http.handle_event(event):
            if isinstance(one, HeadersReceived):
                name = dict(one.headers)[b":authority"].decode()
                self._origin.asked[self._port].append(name)
                body = f"hello from {name}\n".encode()
                http.send_headers(one.stream_id, [(b":status", b"200"), (b"content-type", b"text/plain")])
                http.send_data(one.stream_id, body, end_stream=True)
                self.transmit()


class Http3Client:
    """One UDP socket of the client's, and one QUIC connection after another on it. ``long``: datagrams sent so far that
    begin with a long header; ``sent``: of all."""

    def __init__(self, client: Namespace, family: Family, *, port: int = 0, server: str = "") -> None:
        with client.entered():
            self._socket = socket.socket(socket.AF_INET if family == 4 else socket.AF_INET6, socket.SOCK_DGRAM)
        self._socket.bind(("" if family == 4 else "::", port))
        self._socket.connect((server or SERVER[family], 443))
        self.port = self._socket.getsockname()[1]
        self._server = self._socket.getpeername()
        self.long = self.sent = 0
        self._quic: QuicConnection | None = None
        self._http: H3Connection | None = None

    def ask(self, name: str, *, versions: tuple[int, ...] = (V1,), protocols: int = 0, timeout: float = 5) -> str:
        """A new connection and a request: "ok", "refused" (port unreachable), "closed" or "silence". It begins in the
        last of its versions; with ``protocols`` more on offer its hello is longer."""
        settings = QuicConfiguration(
            is_client=True, alpn_protocols=[*H3_ALPN, *(f"h3-{n:03}" for n in range(protocols))], server_name=name,
            verify_mode=ssl.CERT_NONE, supported_versions=list(versions), original_version=versions[-1],
            idle_timeout=_MOST_HANDSHAKE)
        self._quic, self._http = QuicConnection(configuration=settings), None
        self._quic.connect(self._server, now=time.monotonic())
        return self._until_answered(name, timeout)

    def again(self, name: str, timeout: float = 5) -> str:
        """Another request on the connection that there is."""
        self._request(name)
        return self._until_answered(name, timeout)

    def _request(self, name: str) -> None:
        assert self._http is not None
        assert self._quic is not None
        self._http.send_headers(self._quic.get_next_available_stream_id(), [
            (b":method", b"GET"), (b":scheme", b"https"), (b":authority", name.encode()), (b":path", b"/")],
            end_stream=True)

    def _until_answered(self, name: str, timeout: float) -> str:
        quic = self._quic
        assert quic is not None
        end = time.monotonic() + timeout
        try:
            while (now := time.monotonic()) < end:
                for datagram, _ in quic.datagrams_to_send(now=now):
                    self.sent += 1
                    self.long += bool(datagram[0] & _LONG)
                    self._socket.send(datagram)
                timer = quic.get_timer()
                self._socket.settimeout(max(0.001, min(end, timer or end) - now))
                try:
                    quic.receive_datagram(self._socket.recv(65536), self._server, now=time.monotonic())
                except TimeoutError:
                    if timer is not None and time.monotonic() >= timer:
                        quic.handle_timer(now=time.monotonic())
                while (event := quic.next_event()) is not None:
                    if self._answers(quic, event, name):
                        self._say_so(quic)
                        return "ok"
        except ConnectionRefusedError:
            return "refused"
        return "silence"

    def _answers(self, quic: QuicConnection, event: QuicEvent, name: str) -> bool:
        if isinstance(event, HandshakeCompleted):
            self._http = H3Connection(quic)
            self._request(name)
        return any(isinstance(one, HeadersReceived) for one in self._http.handle_event(event)) if self._http else False

    def _say_so(self, quic: QuicConnection) -> None:
        """Acknowledge what came last: the server need not send it again."""
        for datagram, _ in quic.datagrams_to_send(now=time.monotonic()):
            self.sent += 1
            self.long += bool(datagram[0] & _LONG)
            self._socket.send(datagram)

    def close(self) -> None:
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
