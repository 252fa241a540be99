"""Who stands at the door of the listeners with TLS: how many strangers, for how long, and who is looked at when.

  accepted ──► strangers ──► in line, when they have said something ──► one step of a handshake ──► open, or refused
                  │ too many: the one that has been silent longest      │ the next one after as long
                  └ too late                                            └ a long line: nobody else is accepted

A step is arithmetic of 0.2 to 0.5 ms with keys on elliptic curves and of 4 ms with RSA of 4096 bits (measured). It is
done in the loop's own thread, since another one would wait for the interpreter beside a busy loop (7 handshakes a
second instead of 1,200, measured), but only one in a pass of the loop, and with a pause that is as long as the step.
"""

import asyncio
import logging
import ssl
from collections import deque
from collections.abc import Callable
from typing import Final

from mansio.config import Config
from mansio.server.clock import Clock
from mansio.server.logs import Budget, fields
from mansio.server.peers import certificate_user
from mansio.server.tls_faults import explain, not_tls
from mansio.server.tls_stream import State, TlsStream
from mansio.server.visitors import Visitors

logger = logging.getLogger("mansio.tls")

READ_BYTES: Final = 262_144
"""What one read may bring; as without TLS."""
STRANGER_BYTES: Final = 8192
"""What is read at a time from a connection that is young."""
STRANGERS_MAX: Final = 500
"""Connections whose handshake is not done, each of up to 40 KiB (measured). Beyond that one that is silent gives way:
real clients are not, for long."""
LINE_MAX: Final = 32
"""Who has said something and waits to be looked at. With more of them nobody is accepted: the kernel keeps them."""
LINGER_S: Final = 2.0
"""How long a client that was refused may take to read why."""
SOON_S: Final = 30 * 86_400
"""A certificate that ends so soon is worth a warning."""
TOLD_S: Final = 86_400
"""Between two of them."""
LINES_PER_S: Final = 20
"""Lines about handshakes that failed; more are counted and told in one line."""


class Porter:
    """One for all listeners with the same certificates."""

    def __init__(self, context: ssl.SSLContext, config: Config, clock: Clock) -> None:
        self.context = context
        """For handshakes that begin from now on."""
        self.config = config
        self.view = memoryview(bytearray(READ_BYTES))
        self.small_view = self.view[:STRANGER_BYTES]
        self.handshakes = 0
        """That are done, since the start."""
        self.failures = 0
        """Connections that were refused or went away before theirs was done."""
        self.valid_until_s: float | None = None
        """Unix time when the server's certificate ends, where that is known."""
        self._told_s = clock.wall_s()
        self._clock = clock
        self._strangers: dict[TlsStream, asyncio.TimerHandle] = {}
        self._visitors = Visitors()
        self._line: deque[TlsStream] = deque()
        self._stepping = False
        self._waiting: list[Callable[[], None]] = []
        self._budget = Budget(LINES_PER_S)

    @property
    def strangers(self) -> int:
        """Connections that were accepted and whose handshake is not done."""
        return len(self._strangers)

    def stream(self, app: asyncio.BufferedProtocol) -> TlsStream:
        """TLS for a connection that was accepted; `app` gets it when the handshake is done."""
        return TlsStream(self, app)

    @property
    def crowded(self) -> bool:
        """Whether nobody should be accepted now."""
        return len(self._line) >= LINE_MAX

    def when_free(self, callback: Callable[[], None]) -> None:
        """Calls back once it is not crowded any more."""
        self._waiting.append(callback)

    def close(self) -> None:
        """Nobody is let in any more."""
        for stream in list(self._strangers):
            stream.state = State.ENDED
            self._drop(stream, "")

    def tick(self) -> None:
        """Housekeeping."""
        suppressed = self._budget.take_suppressed()
        if suppressed:
            logger.warning("%d more connections were refused by TLS", suppressed)
        if self._clock.wall_s() - self._told_s > TOLD_S:
            self.tell_of_the_end()

    def tell_of_the_end(self) -> None:
        """Of the server's certificate, if it comes soon."""
        self._told_s = self._clock.wall_s()
        left_s = SOON_S if self.valid_until_s is None else self.valid_until_s - self._told_s
        if left_s < SOON_S:
            text = "the certificate of the server ends in %.1f days: put a new one there and send SIGHUP"
            logger.warning(text, left_s / 86_400)

    # -- what streams tell

    def entered(self, stream: TlsStream) -> None:
        """A connection was accepted."""
        refused = self._visitors.come(stream.address)
        if refused is None and len(self._strangers) >= STRANGERS_MAX:
            self._evict()
        late = asyncio.get_running_loop().call_later(
            self.config.handshake_timeout_s, self._expire, stream
        )
        self._strangers[stream] = late
        if refused is not None:
            self._drop(stream, refused)

    def line_up(self, stream: TlsStream) -> None:
        """It has said something."""
        self._line.append(stream)
        if not self._stepping:
            self._stepping = True
            asyncio.get_running_loop().call_soon(self._step)

    def shaken(self, stream: TlsStream) -> None:
        """Its handshake is done. A session of TLS 1.2 may have been resumed after its certificate has ended."""
        until = stream.certificate.get("notAfter")
        if until is not None and ssl.cert_time_to_seconds(until) < self._clock.wall_s():
            self._refuse(stream, f"its certificate has expired ({until})")
            return
        self.handshakes += 1
        self._forget(stream)
        stream.open()

    def refused(self, stream: TlsStream, error: ssl.SSLError) -> None:
        """OpenSSL has given up."""
        self._refuse(stream, explain(error, self.config))

    def not_tls(self, stream: TlsStream, first: bytes) -> None:
        """It began with something that no client says that speaks TLS."""
        self._refuse(stream, not_tls(first, self.config))

    def left(self, stream: TlsStream, state: State) -> None:
        """Its socket is closed."""
        if stream in self._strangers:
            self._forget(stream)
        if state is State.SHAKING:
            self._log(stream, "it has closed the connection before the handshake was done")
        elif state is State.WAITING:  # a health check
            logger.debug("closed %s: it has said nothing", stream.name)

    def broken(self, stream: TlsStream, why: str) -> None:
        """An open connection is at its end."""
        self._tell("TLS with %s is broken: %s", stream, why)

    def user_of(self, stream: TlsStream) -> str | None:
        """See `Peer.certificate_user`."""
        certificate = stream.certificate
        if not certificate:
            return None
        return certificate_user(certificate, self.config.tls_user_from)

    # -- who is next

    def _step(self) -> None:
        before_ns = self._clock.now_ns()
        self._line.popleft().shake()
        loop = asyncio.get_running_loop()
        if self._line:
            loop.call_later((self._clock.now_ns() - before_ns) / 1e9, self._step)
        else:
            self._stepping = False
        if self._waiting and len(self._line) <= LINE_MAX // 2:
            waiting, self._waiting = self._waiting, []
            for callback in waiting:
                callback()

    def _evict(self) -> None:
        """Whoever came first and does not wait for us has to go."""
        line = set(self._line)
        for stream in self._strangers:
            if stream not in line:
                self._drop(stream, f"it was silent, and {STRANGERS_MAX} others are at the door")
                return

    def _expire(self, stream: TlsStream) -> None:
        limit_s = self.config.handshake_timeout_s
        self._drop(stream, f"it took longer than handshake_timeout_s ({limit_s:g} s)")

    def _drop(self, stream: TlsStream, why: str) -> None:
        """At once, and without a word. `why` is for the log, unless it was refused before."""
        if stream.state is not State.ENDED:
            self._log(stream, why)
        self._forget(stream)
        stream.state = State.ENDED
        stream.abort()

    def _forget(self, stream: TlsStream) -> None:
        """It is no stranger any more, or gone."""
        self._strangers.pop(stream).cancel()
        self._visitors.leave(stream.address, stranger=True)

    def _refuse(self, stream: TlsStream, why: str) -> None:
        self._log(stream, why)
        self._strangers.pop(stream).cancel()
        loop = asyncio.get_running_loop()
        self._strangers[stream] = loop.call_later(LINGER_S, self._expire, stream)
        stream.refuse()

    def _log(self, stream: TlsStream, why: str) -> None:
        self.failures += 1
        self._tell("TLS handshake with %s failed: %s", stream, why)

    def _tell(self, text: str, stream: TlsStream, why: str) -> None:
        if self._budget.allows(self._clock.now_ns()):
            logger.warning(text, stream.name, why, extra=fields(peer=stream.name))
