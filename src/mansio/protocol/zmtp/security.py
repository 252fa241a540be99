"""From the first byte to an open connection: greeting, mechanism, who the peer is, and the role that it gets.

    peer                          we
    64 bytes of greeting          the same, with its mechanism
    NULL: READY   metadata ──►
    PLAIN: HELLO  password ──►    ◄── WELCOME
           INITIATE  metadata ──► ◄── READY  metadata: what we are to it
    CURVE: the same with keys, see `curve.py`
                                  ◄── ERROR  when it may not go on, and then the end

libzmq does not try again behind an ERROR, and a tenth of a second behind an end without one. So that is how it ends for
what may be otherwise in a moment, such as a limit of connections.
"""

from typing import TYPE_CHECKING, Any, Final

from mansio.codec.zmtp import COMMAND, Scan, split_command
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.session import Channel, Session
from mansio.core.users import DEFAULT_VHOST
from mansio.protocol.base import Authenticator, Credentials, Peer, Verdict
from mansio.protocol.zmtp.greeting import OPENING, parse_greeting, rest_of_greeting
from mansio.protocol.zmtp.metadata import decode_metadata, encode_metadata
from mansio.protocol.zmtp.output import Output
from mansio.protocol.zmtp.peers import peers_of
from mansio.protocol.zmtp.role import Role
from mansio.protocol.zmtp.roles import ROLES
from mansio.protocol.zmtp.settings import ZmtpSettings
from mansio.protocol.zmtp.states import COMMANDS, FIRST, State

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import CurveSession

REFUSED: Final = "400"
"""What a peer is told that may not come in, as by libzmq's own servers (RFC 27): more would help those who guess."""
REASON_BYTES_MAX: Final = 240
"""Of a reason that a peer is told: what is short fits into a short frame."""
IDENTITY_BYTES_MAX: Final = 255
QUEUE_NAME_BYTES_MAX: Final = 255
SEAL_BYTES: Final = 64
"""More than a MESSAGE of CURVE is longer than what is in it."""


def encode_misspelt_error(text: bytes) -> bytes:
    """ERROR as libzmq 4.3.5 says and understands it in PLAIN, where its source has "\\x5ERROR" for "\\5ERROR". To the
    command as RFC 24 has it, it says that its peer has broken the protocol; other peers end with either."""
    body = b"^RROR" + bytes((len(text),)) + text
    return bytes((COMMAND, len(body))) + body


class Security(Output):
    """The handshake's part of a connection; `states.py` says when its commands may come."""

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        announce: list[Any],
        now_ns: int,
        settings: ZmtpSettings,
    ) -> None:
        super().__init__(announce, now_ns)
        self.broker = broker
        self.authenticator = authenticator
        self.peer = peer
        self.settings = settings
        self.state = State.GREETING
        self.waiting = False
        self.close_reason = ""
        self.lingers = False
        self.user = ""
        self.session: Session | None = None
        self.channel: Channel  # number 1 of the session
        self.role: Role | None = None
        self.minor = 0
        """Of the version that both speak: 3.0 or 3.1."""
        self.mechanism = ""
        self.socket_type = ""
        self.identity = b""
        self.metadata: dict[str, bytes] = {}
        self.queue_name = settings.default_queue
        self._greeted = False
        self._scan = Scan(broker.limits.message_bytes_max)
        self._curve: CurveSession | None = None
        self._sealed = Scan(broker.limits.message_bytes_max + SEAL_BYTES)  # of its MESSAGEs

    # -- greeting

    def _shake_hands(self, buf: bytearray, pos: int, end: int) -> int:
        """The next step of the handshake: where it got to."""
        if self.state is State.GREETING:
            return pos + self._greet(bytes(buf[pos:end]))
        items: list[Any] = []
        pos = self._scan.scan(buf, pos, end, items)
        for _, body in items:
            self._on_command(body)
        if self._scan.fault and self.state is not State.CLOSED:
            self.refuse(f"in the handshake: {self._scan.fault}")
        return pos

    def _greet(self, data: bytes) -> int:
        """How many bytes of it were a greeting."""
        found = parse_greeting(data, self.settings.mechanisms)
        if isinstance(found, str):
            self.end(found)
            return 0
        if not self._greeted and data[:1] == b"\xff":
            self._greeted = True
            self.send_raw(OPENING)
        if found is None:
            return 0
        if found.as_server and found.mechanism != "NULL":
            self.end(f"it wants to be the server of the mechanism {found.mechanism}")
            return 0
        self.minor = found.minor
        self.mechanism = found.mechanism
        if found.mechanism == "CURVE" and self.settings.curve is not None:
            self._curve = self.settings.curve.begin()
        self.state = FIRST[found.mechanism]
        self.send_raw(rest_of_greeting(found.mechanism))
        return 64

    # -- commands

    def _on_command(self, body: bytes) -> None:
        command = split_command(body)
        if command is None:
            self.refuse("it has sent a command without a name")
            return
        name, data = command
        handler = COMMANDS.get((self.state, name))
        if handler is not None:
            getattr(self, handler)(data)
        elif self.state is not State.OPEN:
            shown = name.decode("ascii", "backslashreplace")
            self.refuse(f"a command {shown} when the handshake was at {self.state.name}")

    def _on_error(self, data: bytes) -> None:
        reason = data[1 : 1 + data[0]] if data else b""
        self.end(f"the peer has given up: {reason.decode('utf-8', 'backslashreplace')!r}")

    def _on_hello(self, data: bytes) -> None:
        """PLAIN: username and password, with their lengths in front (RFC 24)."""
        cut = 1 + data[0] if data else 0
        if len(data) < cut + 1 or len(data) != cut + 1 + data[cut]:
            self.refuse("a HELLO that is malformed")
            return
        user = data[1:cut].decode("utf-8", "surrogateescape")
        password = data[cut + 1 :].decode("utf-8", "surrogateescape")
        self._check(Credentials(user, password, "PLAIN"), self._welcome)

    def _on_curve_hello(self, data: bytes) -> None:
        welcome = self._curve.welcome(data) if self._curve is not None else None
        if welcome is None:
            self.refuse(
                "its HELLO is not for the key of this broker (zmq_curve_secret_key_file)", REFUSED
            )
            return
        self.state = State.CURVE_INITIATE
        self.send_command(b"WELCOME", welcome)

    def _on_curve_initiate(self, data: bytes) -> None:
        curve = self.settings.curve
        found = self._curve.initiate(data) if self._curve is not None else None
        if found is None or curve is None:
            self.refuse("an INITIATE that cannot be opened", REFUSED)
            return
        key, metadata = found
        user = curve.users.get(key)
        if user is None:
            self.refuse("nobody in zmq_curve_users has its key", REFUSED)
        elif not (fault := self._introduce(metadata)):
            self._check(Credentials(user, None, "CURVE"), self._open)
        else:
            self.refuse(fault)

    def _welcome(self, user: str) -> None:
        self.user = user
        self.state = State.INITIATE
        self.send_command(b"WELCOME")

    def _check(self, credentials: Credentials, then: Any) -> None:
        """`then(user)` goes on when it is known who the peer is; nothing is read until then."""

        def done(verdict: Verdict) -> None:
            if self.state is not State.CHECKING:
                return
            self.waiting = False
            if verdict.user is not None:
                then(verdict.user)
            elif verdict.passing:
                self.end(verdict.reason)
            else:
                self.refuse(verdict.reason, REFUSED)

        self.state = State.CHECKING
        self.waiting = True
        self.authenticator.begin(credentials, self.peer, done)

    # -- metadata

    def _on_ready(self, data: bytes) -> None:
        """READY of a peer that does not log in, or INITIATE of one that has."""
        if fault := self._introduce(data):
            self.refuse(fault)
        elif self.mechanism != "NULL":
            self._open(self.user)
        elif not self.peer.loopback or self.broker.users.find(self.settings.user) is None:
            self.refuse("it has not logged in, with the mechanism PLAIN", REFUSED)
        else:
            self._check(Credentials(self.settings.user, None, "NULL"), self._open)

    def _introduce(self, data: bytes) -> str:
        """What the peer says of itself; why that cannot be, if so."""
        metadata = decode_metadata(data)
        if metadata is None:
            return "metadata that are malformed"
        self.metadata = {
            name: value.strip() if name.startswith("x-") else value
            for name, value in metadata.items()
        }  # people write b"X-Queue: images" as they write headers
        self.socket_type = metadata.get("socket-type", b"").decode("ascii", "backslashreplace")
        self.identity = metadata.get("identity", b"")
        if len(self.identity) > IDENTITY_BYTES_MAX:
            return f"an identity of {len(self.identity)} bytes"
        name = self.metadata.get("x-queue", b"")
        try:
            self.queue_name = name.decode() or self.settings.default_queue
        except UnicodeDecodeError:
            return "X-Queue is not UTF-8"
        if len(name) > QUEUE_NAME_BYTES_MAX:
            return f"X-Queue has {len(name)} bytes"
        return ""

    def _open(self, user: str) -> None:
        """The peer is let in: READY, and its role; or it is refused."""
        kind = ROLES.get(self.socket_type)
        if kind is None:
            self.refuse(f"there is nothing here for a socket of type {self.socket_type!r}")
            return
        vhost = self.metadata.get("x-vhost", DEFAULT_VHOST.encode()).decode("utf-8", "replace")
        mark = len(self._out)
        try:
            self.session = self.broker.open_session(self, user, vhost, self.peer.name)  # type: ignore[arg-type]
            peers_of(self.broker).sessions += 1
            self.channel = self.broker.open_channel(self.session, 1)
            self.user = user
            self._say_ready(encode_metadata({"Socket-Type": kind.socket_type.encode()}))
            self.role = kind(self)  # type: ignore[arg-type]
        except BrokerError as error:
            del self._out[mark:]
            if error.passing:
                self.end(error.text)
            else:
                self.refuse(error.text, REFUSED)
            return
        if self.state is not State.CLOSED:
            self.state = State.OPEN
            self._sealed.open = True
            self._scan.open = True
            self._scan.apart = self.role.apart

    def _say_ready(self, metadata: bytes) -> None:
        if self._curve is None:
            self.send_command(b"READY", metadata)
        else:
            self.send_command(b"READY", self._curve.ready(metadata))
            self.seal_from_here(self._curve.seal)

    # -- the end

    def refuse(self, reason: str, told: str = "") -> None:
        """The handshake fails; `told`: what the peer hears, if that is not the reason."""
        text = (told or reason).encode()[:REASON_BYTES_MAX]
        if self.mechanism == "PLAIN":
            self.send_raw(encode_misspelt_error(text))
        else:
            self.send_command(b"ERROR", bytes((len(text),)) + text)
        self.lingers = True
        self.end(reason)
