"""TLS on one connection: for the socket's transport a protocol, for the protocol above a transport.

  accepted ── WAITING ──── a TLS record ────► SHAKING ──── done ────► OPEN ── bytes, as without TLS
                 │ something else, or nothing     │ refused
                 └───────────────┬────────────────┘
                                 ▼
                               ENDED ── the client reads why, and closes

The loop's own TLS is not used: it drops what OpenSSL would tell a client that it refuses, shakes hands with as many at
once as come, and keeps 256 KiB for every connection. Encryption and the handshake itself are OpenSSL's.

The protocol above hears of the connection when the handshake is done, so a stranger costs it nothing. All streams read
into one buffer. What is decrypted is handed on at once; only while the protocol above does not read, some waits.
"""

import asyncio
import ssl
from collections.abc import Iterable
from enum import Enum, auto
from typing import TYPE_CHECKING, Any, Final, cast

from mansio.server.peers import peer_address, peer_name
from mansio.server.tls_faults import reason

if TYPE_CHECKING:
    from mansio.server.tls_porter import Porter

STEP_BYTES: Final = 32_768
"""What is given to OpenSSL at a time: its buffers keep the size that they once had."""
YOUNG_BYTES: Final = 65_536
"""So much of a connection is decrypted record by record, to see which of them hold data."""
EMPTY_BYTES_MAX: Final = 65_536
"""Records without data (new keys, padding) that a client may send in a row: 27 bytes of them cost us 10 to 23 us
(measured), which is more than a whole handshake for each KiB."""
EMPTY_RECORD_BYTES: Final = 4096
"""As what each record without data counts, as long as they are counted."""
RECORD_HEAD_BYTES: Final = 5
"""Type, version and length (RFC 8446, 5.1)."""
UNREAD_BYTES_MAX: Final = 32 << 20
"""What may wait to be written when a client makes OpenSSL answer by itself: more than the protocol above lets wait."""
DISCARD_BYTES_MAX: Final = 65_536
"""What is read of a client that was refused, so that closing does not reset the connection before it has read why."""
HANDSHAKE: Final = 0x16
"""How a record begins that is part of a handshake, and so every connection with TLS (RFC 8446, 5.1)."""
NOTHING: Final = memoryview(b"")


class State(Enum):
    """See the picture above."""

    WAITING = auto()
    SHAKING = auto()
    OPEN = auto()
    ENDED = auto()


class TlsStream(asyncio.Transport, asyncio.BufferedProtocol):
    """One connection."""

    def __init__(self, porter: "Porter", app: asyncio.BufferedProtocol) -> None:
        """`app`: whose connection it is to be, once the handshake is done."""
        super().__init__()
        self.state = State.WAITING
        self.name = self.address = ""  # of the peer: for the log, and without ports
        self._porter = porter
        self._app = app
        self._raw: asyncio.Transport | None = None
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls: ssl.SSLObject
        self._paused = False
        self._closing = False
        self._held = b""  # received, and not given to OpenSSL yet
        self._young_bytes = YOUNG_BYTES
        self._empty_bytes = 0  # received since the last data
        self._discarded_bytes = 0
        self._end: str | None = None  # why nothing more can be read; "": the client has said so

    # -- what the socket's transport calls

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._raw = cast(asyncio.Transport, transport)
        self.name, self.address = peer_name(transport), peer_address(transport)
        self._porter.entered(self)

    def get_buffer(self, sizehint: int) -> memoryview:
        return self._porter.view if self._young_bytes <= 0 else self._porter.small_view

    def buffer_updated(self, nbytes: int) -> None:
        data = self._porter.view[:nbytes]
        if self.state is State.OPEN:
            self._receive(data)
        elif self.state is State.ENDED:
            self._discarded_bytes += nbytes
            if self._discarded_bytes > DISCARD_BYTES_MAX:
                self.abort()
        elif self.state is State.WAITING and data[0] != HANDSHAKE:
            self._porter.not_tls(self, bytes(data[:8]))
        else:
            self._incoming.write(data)
            if self._raw is not None:
                self._raw.pause_reading()
            self._porter.line_up(self)

    def eof_received(self) -> bool:
        if self.state is State.OPEN:
            self._app.eof_received()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        state, self.state = self.state, State.ENDED
        self._raw = None
        self._porter.left(self, state)
        if state is State.OPEN:
            self._app.connection_lost(exc)

    def pause_writing(self) -> None:
        if self.state is State.OPEN:
            self._app.pause_writing()

    def resume_writing(self) -> None:
        if self.state is State.OPEN:
            self._app.resume_writing()

    # -- the handshake; the porter decides when

    def shake(self) -> None:
        """Goes on with what has arrived."""
        if self.state is State.WAITING:
            self.state = State.SHAKING
            context = self._porter.context
            self._tls = context.wrap_bio(self._incoming, self._outgoing, server_side=True)
        if self.state is not State.SHAKING:
            return  # it has gone meanwhile
        try:
            self._tls.do_handshake()
        except ssl.SSLWantReadError:
            self._flush()
            self._resume_raw()
        except ssl.SSLError as error:
            self._flush()
            self._porter.refused(self, error)
        else:
            self._flush()
            self._porter.shaken(self)

    @property
    def certificate(self) -> dict[str, Any]:
        """That of the client, verified, as `SSLObject.getpeercert` has it; empty: there is none."""
        return self._tls.getpeercert() or {}

    def open(self) -> None:
        """From now on this is a connection like any other."""
        self.state = State.OPEN
        self._app.connection_made(self)
        self._go_on()

    def refuse(self) -> None:
        """Nothing more is said; the client may read what was, and closes."""
        self.state = State.ENDED
        if self._raw is not None and not self._raw.is_closing():
            self._raw.write_eof()
            self._resume_raw()

    # -- what is received

    def _receive(self, data: memoryview) -> None:
        """Decrypts what was held and `data`, and hands it on, as long as the protocol above reads."""
        if self._held:
            data, self._held = memoryview(self._held + data), b""
        while not self._paused and not self._closing:
            buffer = memoryview(self._app.get_buffer(-1))
            got, data = self._fill(buffer, data)
            if got:
                self._app.buffer_updated(got)
            if self._end is not None:
                self._ended()
            if got < len(buffer):
                break
        self._held = bytes(data)
        if self._outgoing.pending:  # OpenSSL has something to say by itself
            self._flush()
            if self._raw is not None and self._raw.get_write_buffer_size() > UNREAD_BYTES_MAX:
                self.abort()

    def _fill(self, buffer: memoryview, data: memoryview) -> tuple[int, memoryview]:
        """Decrypts into the buffer: how many bytes are in it, and what is left of the data."""
        got, size = 0, len(buffer)
        while got < size:
            if not self._incoming.pending and not self._tls.pending():
                n = self._next_piece(data)
                if not n:
                    break
                self._incoming.write(data[:n])
                data = data[n:]
            try:
                count = cast(int, self._tls.read(size - got, buffer[got:]))
            except ssl.SSLWantReadError:
                continue
            except ssl.SSLError as error:
                self._end = "" if isinstance(error, ssl.SSLZeroReturnError) else reason(error)
                break
            if not count:
                self._end = ""
                break
            got += count
            self._empty_bytes = 0
        return got, data

    def _next_piece(self, data: memoryview) -> int:
        """How much of the data OpenSSL is given next: while the connection is young a record, if it is whole."""
        n = min(len(data), STEP_BYTES)
        cost = n
        if self._young_bytes > 0 and n:
            n = RECORD_HEAD_BYTES + int.from_bytes(data[3:RECORD_HEAD_BYTES], "big")
            if len(data) < RECORD_HEAD_BYTES or len(data) < n <= STEP_BYTES:
                return 0
            cost = EMPTY_RECORD_BYTES
            self._young_bytes -= n
        if self._empty_bytes > EMPTY_BYTES_MAX:
            self._end = "too many records without data"
            return 0
        self._empty_bytes += cost
        return n

    def _ended(self) -> None:
        """Nothing more can be read."""
        if self._end:
            self._porter.broken(self, self._end)
        else:
            self._app.eof_received()
        self.close()

    def _go_on(self) -> None:
        """What waited is looked at first, then the socket."""
        if self.state is State.OPEN:
            self._receive(NOTHING)
            self._resume_raw()

    def _resume_raw(self) -> None:
        if self._raw is not None and not self._paused and not self._raw.is_closing():
            self._raw.resume_reading()

    def _flush(self) -> None:
        if self._outgoing.pending and self._raw is not None and not self._raw.is_closing():
            self._raw.write(self._outgoing.read())

    # -- what the protocol above calls, as of `asyncio.Transport`

    def write(self, data: Any) -> None:
        if self._closing or self._raw is None or self._raw.is_closing() or not data:
            return
        try:
            if len(data) <= STEP_BYTES:
                self._raw.write(self._encrypt(data))
                return
            view = memoryview(data)
            starts = range(0, len(view), STEP_BYTES)
            self._raw.writelines([self._encrypt(view[at : at + STEP_BYTES]) for at in starts])
        except ssl.SSLError as error:
            self._porter.broken(self, reason(error))
            self.abort()

    def writelines(self, list_of_data: Iterable[Any]) -> None:
        """Joined: each piece by itself would become records of its own."""
        self.write(b"".join(list_of_data))

    def _encrypt(self, data: Any) -> bytes:
        self._tls.write(data)
        return self._outgoing.read()

    def close(self) -> None:
        if self._closing or self._raw is None:
            return
        self._closing = True
        try:
            self._tls.unwrap()  # tells the client that this is the end, and does not wait for the same from it
        except ssl.SSLError:
            pass
        self._flush()
        self._raw.close()

    def abort(self) -> None:
        self._closing = True
        if self._raw is not None:
            self._raw.abort()

    def is_closing(self) -> bool:
        return self._closing or self._raw is None or self._raw.is_closing()

    def is_reading(self) -> bool:
        return not self._paused

    def pause_reading(self) -> None:
        self._paused = True
        if self._raw is not None and not self._raw.is_closing():
            self._raw.pause_reading()

    def resume_reading(self) -> None:
        if not self._paused:
            return
        self._paused = False
        if self._raw is not None and (self._held or self._incoming.pending or self._tls.pending()):
            asyncio.get_running_loop().call_soon(self._go_on)
        else:
            self._resume_raw()

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        if self._raw is not None:
            self._raw.set_write_buffer_limits(high, low)

    def get_write_buffer_size(self) -> int:
        return 0 if self._raw is None else self._raw.get_write_buffer_size()

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        """Beside what the socket's transport knows: `certificate_user`, see `Peer`, and `ssl_object`."""
        if name == "certificate_user":
            return self._porter.user_of(self)
        if name == "ssl_object":
            return self._tls
        return default if self._raw is None else self._raw.get_extra_info(name, default)
