"""What makes the front of a connection, by protocol. Fronts beside the main one are loaded for their first client: that
of Redis takes 4 MiB and 50 ms, which nobody needs who has no such clients."""

from typing import TYPE_CHECKING

from mansio.config import Config
from mansio.protocol.base import Authenticator, Front, Peer
from mansio.server import clock
from mansio.server.acceptor import Factory
from mansio.server.turn import Turn, token

if TYPE_CHECKING:
    from mansio.protocol.zmtp.curve import Curve


def factories(turn: Turn, config: Config, curve: "Curve | None" = None) -> dict[str, Factory]:
    """The protocol of an accepted socket, by front; `entrances.ENTRANCES` has the same names. `curve`: the keys that
    ZeroMQ sockets may come in with."""

    def redis(peer: Peer, door: Authenticator) -> Front:
        from mansio.protocol.resp.connection import RespConnection

        return RespConnection(
            turn.broker,
            door,
            peer,
            turn.speaking,
            clock.now_ns(),
            config.redis_databases,
            config.redis_user,
            waits=config.redis_sync == "always" and not turn.broker.forgetful,
        )

    def zeromq(peer: Peer, door: Authenticator) -> Front:
        from mansio.protocol.zmtp.connection import ZmtpConnection
        from mansio.protocol.zmtp.settings import ZmtpSettings

        settings = ZmtpSettings(
            user=config.zmq_user,
            default_queue=config.zmq_default_queue,
            default_mode=config.zmq_mode,
            call_timeout_ms=config.zmq_call_timeout_ms,
            majordomo_heartbeat_ms=config.majordomo_heartbeat_ms,
            majordomo_liveness=config.majordomo_liveness,
            majordomo_expiry_ms=config.majordomo_expiry_ms,
            titanic_ttl_ms=config.titanic_ttl_ms,
            curve=curve,
            curve_only=config.zmq_curve_only,
        )
        return ZmtpConnection(
            turn.broker, door, peer, token, turn.speaking, clock.now_ns(), settings
        )

    return {
        "AMQP": turn.connection,
        "Redis": lambda: turn.connection(redis),
        "ZeroMQ": lambda: turn.connection(zeromq),
    }
