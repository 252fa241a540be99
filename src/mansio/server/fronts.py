"""What makes the front of a connection, by protocol."""

from mansio.config import Config
from mansio.protocol.base import Authenticator, Peer
from mansio.protocol.resp.connection import RespConnection
from mansio.server import clock
from mansio.server.acceptor import Factory
from mansio.server.turn import Turn


def factories(turn: Turn, config: Config) -> dict[str, Factory]:
    """The protocol of an accepted socket, by front; `entrances.ENTRANCES` has the same names."""

    def redis(peer: Peer, door: Authenticator) -> RespConnection:
        return RespConnection(
            turn.broker,
            door,
            peer,
            turn.speaking,
            clock.now_ns(),
            config.redis_databases,
            config.redis_user,
            waits=config.redis_sync == "always",
        )

    return {"AMQP": turn.connection, "Redis": lambda: turn.connection(redis)}
