"""From the protocol header to an open connection: who the client is and what is agreed upon (specification 2.2.4)."""

from typing import Any

from mansio.codec import amqp_methods as m
from mansio.codec.amqp import Scan
from mansio.core.broker import Broker
from mansio.core.errors import BrokerError
from mansio.core.limits import HANDSHAKE_FRAME_BYTES
from mansio.core.session import Session
from mansio.protocol.amqp import handshake
from mansio.protocol.amqp.output import Output
from mansio.protocol.amqp.replies import ACCESS_REFUSED, NOT_ALLOWED, Refusal
from mansio.protocol.amqp.sasl import read_credentials
from mansio.protocol.amqp.states import State
from mansio.protocol.base import Authenticator, Peer, Verdict


class Login(Output):
    """The handshake's part of a connection; `states.py` says when its methods may come."""

    def __init__(
        self,
        broker: Broker,
        authenticator: Authenticator,
        peer: Peer,
        announce: list[Any],
        now_ns: int,
    ) -> None:
        super().__init__(announce, broker.limits.frame_max, now_ns)
        self.broker = broker
        self.authenticator = authenticator
        self.peer = peer
        self.state = State.HEADER
        self.close_reason = ""  # for the log: why the connection ended, when that was not in order
        self.lingers = False
        self.waiting = False
        self.session: Session | None = None
        self.user = ""
        self.channel_max = broker.limits.channel_max
        self.heartbeat_ns = 0
        self.scan = Scan(min(broker.limits.frame_max, HANDSHAKE_FRAME_BYTES))

    def close(self, refusal: Refusal) -> None:
        """Closes the connection with a reply code."""
        raise NotImplementedError

    def end(self, reason: str, lingers: bool = False) -> None:
        """Ends the connection without a further word; see `Front.lingers`."""
        raise NotImplementedError

    def _on_start_ok(self, method: m.ConnectionStartOk) -> None:
        self.client = dict(method.client_properties)
        mechanism = method.mechanism
        credentials = read_credentials(mechanism, method.response, self.peer)
        if isinstance(credentials, str):
            self._refuse_login(mechanism, credentials)
            return
        self.state = State.CHECKING
        self.waiting = True
        self.authenticator.begin(
            credentials, self.peer, lambda verdict: self._on_verdict(mechanism, verdict)
        )

    def _on_verdict(self, mechanism: str, verdict: Verdict) -> None:
        """The password was checked, at once or later: what has arrived since is looked at by `go_on`."""
        if self.state is not State.CHECKING:
            return
        self.waiting = False
        if verdict.user is None:
            self._refuse_login(mechanism, f"{mechanism} login refused: {verdict.reason}")
            return
        self.user = verdict.user
        self.state = State.TUNE
        self.send_method(0, handshake.tune(self.broker.limits))

    def _refuse_login(self, mechanism: str, reason: str) -> None:
        self.close_reason = reason
        if self.capable("authentication_failure_close"):
            text = f"Login was refused using authentication mechanism {mechanism}."
            self.close(Refusal(ACCESS_REFUSED, f"{text} For details see the broker logfile."))
        else:
            self.end(reason)

    def _on_tune_ok(self, method: m.ConnectionTuneOk) -> None:
        self.frame_max, self.channel_max, heartbeat_s = handshake.negotiate(
            method, self.broker.limits
        )
        self.heartbeat_ns = heartbeat_s * 1_000_000_000
        self.scan = Scan(self.frame_max)
        # What is larger than a message may be is put together frame by frame, where it is refused.
        self.scan.whole_max = min(self.scan.whole_max, self.broker.limits.message_bytes_max)
        self.state = State.OPENING

    def _on_open(self, method: m.ConnectionOpen) -> None:
        try:
            self.session = self.broker.open_session(
                self, self.user, method.virtual_host, self.peer.name
            )
        except BrokerError as error:
            raise Refusal(NOT_ALLOWED, error.text, m.ConnectionOpen.ID) from None
        self.state = State.OPEN
        self.send_method(0, m.ConnectionOpenOk())

    def _on_update_secret(self, method: m.ConnectionUpdateSecret) -> None:
        self.send_method(0, m.ConnectionUpdateSecretOk())
