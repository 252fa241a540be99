"""One socket: bytes from the kernel to the front, bytes from the front to the kernel, and back-pressure both ways."""

import asyncio
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, cast

from mansio.protocol.base import Authenticator, Front, Peer
from mansio.server.clock import Clock
from mansio.server.door import Door
from mansio.server.logs import fields
from mansio.server.peers import has_left, peer_of

if TYPE_CHECKING:
    from mansio.server.turn import Turn

logger = logging.getLogger("mansio.connection")

WRITE_HIGH_BYTES: Final = 262_144
"""What may wait to be written before the client counts as one that does not read."""
UNREAD_BYTES_MAX: Final = 16 << 20
"""What may wait to be written before requests are not read either: deliveries stop long before, but answers to a client
that only asks would pile up without end. Far more than a client that stops reading for a while makes us hold."""
LINGER_NS: Final = 2_000_000_000
"""How long a connection that has ended waits for the client to close it: closing it before the client has read
everything would reset it, and RabbitMQ's clients expect to close first."""
CLOSE_OK_S: Final = 0.002
"""How long the last words of a front that lingers wait, which is connection.close-ok. RabbitMQ answers after some
milliseconds too; a client that hears it before it has begun to wait for it (aiormq 7.2.4) takes the close for a
failure."""
STRANGER_BYTES: Final = 8192
"""What is read at a time from a connection that is not open yet; a handshake is much shorter."""
STRANGER_WRITE_BYTES: Final = 16_384
"""What may wait to be written to one before it is not read any more."""
ALONE_BYTES: Final = 4096
QUIET_NS: Final = 100_000
"""A read this small, this long after the last one, is a turn of its own: most likely no other socket is readable, and
a callback at the end of the loop's pass costs 1.5 to 2.5 us (measured). A busy broker does not pause for so long."""
DISCARD_BYTES_MAX: Final = 65_536
"""What is read from a connection that has ended before its input is left alone."""
JOIN_BYTES_MAX: Final = 65_536
"""Up to this size it is cheaper to join what is to be written than to hand over the pieces."""


MakeFront = Callable[[Peer, Authenticator], Front]
"""Makes the front of a connection that was accepted."""


class Connection(asyncio.BufferedProtocol):
    """An asyncio protocol around one front."""

    def __init__(self, turn: "Turn", clock: Clock, make_front: MakeFront) -> None:
        self._turn = turn
        self._clock = clock
        self._make_front = make_front
        self._transport: asyncio.Transport | None = None
        self._lingering_until_ns = 0
        self._closing_until_ns = 0
        self._discarded_bytes = 0
        self._stuck = False  # much waits to be written
        self._unread_bytes = (
            0  # what waited to be written when requests had to wait for it; 0: they do not
        )
        self._aborted = False
        self.peer = Peer("", False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self.peer = peer_of(transport)
        self._door = Door(self._turn, self)
        self.front = self._make_front(self.peer, self._door)
        self._turn.add(self, self.front)
        stranger = self.front.session is None
        self._limit_writing(STRANGER_WRITE_BYTES if stranger else WRITE_HIGH_BYTES)
        self._door.stranger = stranger
        refused = self._turn.visitors.come(self.peer.address, stranger)
        if refused is not None:
            self.front.end(refused)
            self.abort()
        logger.debug("accepted %s", self.peer.name, extra=fields(peer=self.peer.name))

    def _limit_writing(self, high: int) -> None:
        if self._transport is not None:
            self._transport.set_write_buffer_limits(high=high, low=high // 2)

    def let_in(self) -> None:
        """The client has logged in."""
        self._limit_writing(WRITE_HIGH_BYTES)

    def get_buffer(self, sizehint: int) -> memoryview:
        front = self.front
        turn = self._turn
        tail = front.tail
        if not tail and front.session is not None:
            return turn.view
        if self._lingering_until_ns:
            return turn.view
        n = len(tail)
        turn.buffer[:n] = tail
        return turn.view[n:] if front.session is not None else turn.view[n : n + STRANGER_BYTES]

    def buffer_updated(self, nbytes: int) -> None:
        front = self.front
        turn = self._turn
        if front.session is None and not self._admitted(nbytes):
            return
        now_ns = turn.clock_ns()
        alone = nbytes < ALONE_BYTES and now_ns - turn.received_ns > QUIET_NS
        turn.received_ns = now_ns
        if not turn.reading_until_ns:
            turn.begin(now_ns)
        front.receive_buffer(turn.buffer, len(front.tail) + nbytes, now_ns)
        session = front.session
        if (front.paused or front.waiting) and self._transport is not None:
            self._transport.pause_reading()
        elif session is not None and session.pressing and self._transport is not None:
            session.pressing = False
            self._transport.pause_reading()
            turn.brake.hold(self)
        elif now_ns > turn.reading_until_ns and self._transport is not None:
            self._transport.pause_reading()
            turn.defer(self)
        if alone:
            turn.end()
        elif not turn.scheduled:
            turn.schedule()

    def _admitted(self, nbytes: int) -> bool:
        """Whether input of a connection that is not open is looked at now: later, or never behind the end."""
        if self._lingering_until_ns:
            self._discard(nbytes)
            return False
        front = self.front
        turn = self._turn
        if turn.admits():
            return True
        front.tail = bytes(turn.view[: len(front.tail) + nbytes])
        if self._transport is not None and not self._transport.is_closing():
            self._transport.pause_reading()
            turn.wait(self)
        return False

    def go_on(self) -> None:
        """What has arrived before the connection was open, or before a message was read from the log, is looked at."""
        if self._transport is not None:
            now_ns = self._clock.now_ns()
            self._turn.see(now_ns)
            self.front.go_on(now_ns)
            self.resume_reading()

    def _discard(self, nbytes: int) -> None:
        """Input behind the end: a little is read to see the client close, a flood is left to TCP."""
        self._discarded_bytes += nbytes
        if self._discarded_bytes > DISCARD_BYTES_MAX and self._transport is not None:
            self._transport.pause_reading()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        front = self.front
        if exc is None and not self._aborted and front.unflushed:
            front.flushed()  # it was closed in order, so all that was written has left
        front.receive_eof()
        front.data_to_send()
        self._transport = None
        self._turn.remove(self, front)
        self._turn.visitors.leave(self.peer.address, self._door.stranger)
        self._turn.log_closed(self.peer, front)

    def pause_writing(self) -> None:
        self._stuck = True
        self.front.set_writable(False)
        if self._turn.broker.unfinished:  # others may be given what waited for this client
            self._turn.schedule()

    def resume_writing(self) -> None:
        self._stuck = False
        self.front.set_writable(True)
        self._look_flushed()
        self._unread_bytes = 0
        self.resume_reading()
        self._turn.brake.release()
        self._turn.schedule()

    def resume_reading(self) -> None:
        """The broker has memory again, or the client has read."""
        if self._transport is None or self._transport.is_closing():
            return
        if self.front.paused or self.front.waiting or self._unread_bytes:
            return
        if not self._transport.is_reading():
            self._transport.resume_reading()

    def write(self, chunks: list[bytes | memoryview]) -> None:
        """Writes at once; closes behind it when the front is done."""
        transport = self._transport
        if transport is None or transport.is_closing():
            return
        front = self.front
        if front.closed:
            self._write_last(transport, chunks)
        elif len(chunks) == 1:
            transport.write(chunks[0])
        elif chunks:
            if sum(map(len, chunks)) > JOIN_BYTES_MAX:
                transport.writelines(chunks)
            else:
                transport.write(b"".join(chunks))
        if self._stuck and not self._unread_bytes:
            self._bound_unread(transport)

    def _write_last(self, transport: asyncio.Transport, chunks: list[bytes | memoryview]) -> None:
        """The front is done."""
        data = b"".join(chunks)
        if self.front.lingers and not self.front.close_reason:
            asyncio.get_running_loop().call_later(CLOSE_OK_S, self._write_late, data)
        elif data:
            transport.write(data)
        self._finish(transport)

    def watch_flush(self) -> None:
        """Tells the front when what was written has left for the kernel: event loops write at the end of a pass."""
        asyncio.get_running_loop().call_soon(self._look_flushed)

    def _look_flushed(self) -> None:
        front, transport = self.front, self._transport
        if front.unflushed and transport is not None and not transport.get_write_buffer_size():
            front.flushed()

    def _write_late(self, data: bytes) -> None:
        """Meanwhile the client may have gone."""
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)

    def _bound_unread(self, transport: asyncio.Transport) -> None:
        """Requests of a client that does not read have to wait once too many answers do, a stranger's at once."""
        unread = transport.get_write_buffer_size()
        if unread > UNREAD_BYTES_MAX or self._door.stranger:
            self._unread_bytes = unread
            transport.pause_reading()

    def _finish(self, transport: asyncio.Transport) -> None:
        """Everything is said: closes, or gives the client a while to read it and to close, as after close-ok."""
        if not self.front.lingers:
            self._closing_until_ns = self._clock.now_ns() + LINGER_NS
            transport.close()
        elif not self._lingering_until_ns:
            self._lingering_until_ns = self._clock.now_ns() + LINGER_NS
            if not transport.is_reading():
                transport.resume_reading()

    @property
    def lingering(self) -> bool:
        """Whether everything has been said and only the client's own close is awaited."""
        return self._lingering_until_ns > 0

    def tick(self, now_ns: int) -> None:
        """Housekeeping: heartbeats, deadlines, the end of lingering, and of closing when that takes too long."""
        if self.front.unflushed:
            self._look_flushed()
        until_ns = self._closing_until_ns or self._lingering_until_ns
        if not until_ns:
            if self._unread_bytes and self._transport is not None:
                waiting = self._transport.get_write_buffer_size()
                if waiting < self._unread_bytes:  # it reads: that is as good as a heartbeat
                    self.front.received_ns = now_ns
                self._unread_bytes = waiting
            self.front.tick(now_ns)
            if self.front.deaf and self._transport is not None and has_left(self._transport):
                self.abort()
        elif now_ns >= until_ns and self._transport is not None:
            if self._closing_until_ns or self._transport.get_write_buffer_size():
                self.abort()  # a peer that does not read would keep it open for good
            else:
                self._transport.close()

    def shutdown(self, code: int, text: str) -> None:
        """Says goodbye to the client."""
        self.front.shutdown(code, text)
        self.resume_reading()
        self._turn.schedule()

    def abort(self) -> None:
        """Closes the socket without further words."""
        self._aborted = True
        if self._transport is not None:
            self._transport.abort()
