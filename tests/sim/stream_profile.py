"""Which streams and groups a world has."""

from __future__ import annotations

from random import Random

from mansio.codec.amqp_values import Table

AGES = ("1s", "5s", "1m", "1h")


def stream_arguments(rng: Random) -> Table:
    """Of a stream, whose segments are small or all in one."""
    arguments: Table = {"x-queue-type": "stream"}
    if rng.random() < 0.7:
        arguments["x-stream-max-segment-size-bytes"] = rng.choice((1, 200, 500, 2000))
        if rng.random() < 0.7:
            arguments["x-max-length-bytes"] = rng.choice((0, 300, 1000, 3000, 10_000))
        if rng.random() < 0.3:
            arguments["x-max-age"] = rng.choice(AGES)
    return arguments


def group_arguments(rng: Random, stream: str, durable: bool) -> Table:
    """Of a group of this stream; where it begins is drawn when it is declared."""
    arguments: Table = {"x-stream": stream}
    if rng.random() < 0.4:
        arguments["x-stream-protected"] = rng.random() < 0.8
    if rng.random() < 0.25:
        arguments["x-single-active-consumer"] = True
    if rng.random() < 0.15:
        arguments["x-consumer-timeout"] = rng.choice((0, 20, 200, 2000))
    if rng.random() < 0.1:
        arguments["x-expires"] = rng.choice((50, 2000, 60_000))
    if rng.random() < 0.4:
        arguments["x-dead-letter-exchange"] = rng.choice(("", "x0", "amq.fanout", "nowhere"))
        if rng.random() < 0.6:
            arguments["x-dead-letter-routing-key"] = rng.choice(("q0", "q1", "s0", "g0", "a"))
    if durable and rng.random() < 0.5:
        arguments["x-queue-type"] = "quorum"
        if rng.random() < 0.9:
            arguments["x-delivery-limit"] = rng.choice((0, 1, 1, 2, 3, 10))
    if rng.random() < 0.15:
        arguments["x-retry"] = rng.choice(({"delays": [20]}, {"delays": [1, 300]}, {"first": 20}))
    return arguments
