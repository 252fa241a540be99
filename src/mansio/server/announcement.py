"""What a broker says when it is ready: where it listens, what to mind, and what to do next."""

import logging

from mansio.config import Config
from mansio.core.users import Users
from mansio.server import curve, exposure, storage
from mansio.server.entrances import ENTRANCES, Entrances
from mansio.server.listeners import shown
from mansio.server.logs import fields

logger = logging.getLogger("mansio")

HINTS = {
    "AMQP": "connect with pika.BlockingConnection(pika.ConnectionParameters(%r, %s)); README.md has a"
    " first publisher and consumer; Ctrl-C stops the broker",
    "Redis": "or with redis.Redis(%r, %s): lists are queues",
    "ZeroMQ": "or with a ZeroMQ socket, REQ or PUSH, connected to tcp://%s:%s",
}
"""For the first address without TLS of each front."""


def announce(entrances: Entrances, config: Config, users: Users) -> None:
    """The lines of the log."""
    for entrance in ENTRANCES:
        protocol = entrance.protocol
        which = f" ({protocol})" if entrance.resident else ""
        for address in entrances.addresses(protocol):
            logger.info("listening on %s%s", address, which, extra=_fields(address, protocol))
        for address in entrances.tls_addresses(protocol):
            about = _fields(address, protocol)
            logger.info("listening on %s with TLS%s", address, which, extra=about)
    clear = entrances.addresses("ZeroMQ")
    if entrances.curve is not None and clear:
        curve.tell(entrances.curve, config)
    encrypted = clear if config.zmq_curve_only else []
    for line in exposure.warnings(
        [address for address in entrances.addresses() if address not in encrypted],
        entrances.tls_addresses(),
        users,
        config.loopback_users,
        entrances.addresses("Redis") + entrances.tls_addresses("Redis"),
        config.redis_user,
        [] if encrypted else clear,
        config.zmq_user,
    ):
        logger.warning("%s", line)
    if config.metrics_port:
        address = shown(config.metrics_bind.strip("[]"), config.metrics_port)
        logger.info("metrics at http://%s/metrics", address, extra=fields(metrics=address))
    if config.in_memory:
        logger.info("queues live in memory: they are gone when the broker stops")
    else:
        path = storage.data_directory(config)
        logger.info("data in %s", path, extra=fields(data_dir=str(path)))
    for entrance in ENTRANCES:
        for address in entrances.addresses(entrance.protocol)[:1]:
            host, _, port = address.rpartition(":")
            host = {"0.0.0.0": "localhost", "[::]": "localhost"}.get(host, host.strip("[]"))
            logger.info(HINTS[entrance.protocol], host, port)


def _fields(address: str, protocol: str) -> dict[str, dict[str, object]]:
    return fields(protocol=protocol, address=address)
