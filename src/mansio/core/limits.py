"""Every bound of the broker, with its reason and what happens there. Sizes in bytes, times in nanoseconds."""

from dataclasses import dataclass
from typing import Final

NS: Final = 1_000_000_000

FRAME_MIN_BYTES: Final = 4096
"""Every peer must accept frames of this size (specification 1.4.1); a smaller frame-max is refused with 530."""

HANDSHAKE_FRAME_BYTES: Final = 16 << 10
"""Largest frame before a connection is tuned: room for long tokens and client properties, of which peers that have not
logged in may make us hold one each (RabbitMQ 3.10.8: 4096)."""

TURN_BYTES: Final = 1 << 19
"""What one session is sent in one turn. More would hold up the others; the rest follows in the next turn."""

CROWD_BYTES: Final = 4 << 20
"""Ready bytes of a queue whose consumers take all that their connections carry: above it publishers are slowed, since
a backlog that outgrows the processor's caches costs everybody more. A queue nobody reads from slows nobody."""

ROUTES_MAX: Final = 4096
"""Routes that a connection remembers; at the limit they are forgotten and looked up again."""

OPEN_RUNS_MAX: Final = 65_536
"""Operations that one open transaction may hold; at the limit the channel is closed with 406."""

OPEN_BYTES_MAX: Final = 256 << 20
"""Messages in one open transaction, which nobody can consume yet; at the limit the channel is closed with 406."""

PART_BYTES_MAX: Final = 256 << 20
"""Messages of one turn in one entry of the log, beyond which the next ones go into another: several transactions may be
committed in one turn, together too large for any entry, and each of them must be in the log whole or not at all."""

IDS_MAX: Final = 1_000_000
"""Ids that one deduplicating queue or exchange may be declared to remember, about 230 MiB; more is refused with 406. To
write so many into a snapshot of the topology takes a second."""

TIME_MAX_MS: Final = 315_360_000_000
"""Ten years: the longest time to live that queues and messages may ask for (RabbitMQ 3.10.8)."""


@dataclass(slots=True)
class Limits:
    """What users may set. The defaults are RabbitMQ's, where it has the same bound."""

    frame_max: int = 131_072
    """Largest frame that we offer, framing included."""
    channel_max: int = 2047
    """Channels of one connection; channel.open above it closes the connection with 530."""
    heartbeat_s: int = 60
    """Heartbeat that we propose; a peer is given up after twice the negotiated time without a byte."""
    message_bytes_max: int = 134_217_728
    """Body of one message; a larger one closes the channel with 406."""
    run_bytes: int = 400
    """What a run costs beside its data (measured: objects, their headers, places in queues): most of the memory
    that small messages hold which come one at a time."""
    memory_bytes_max: int = 1 << 62
    """Memory held by messages above which publishers are blocked, never consumers or acknowledgements."""
    page_bytes: int = 0
    """Bytes of messages that stay in memory; beyond them messages are paged out to the log. 0: none are."""
    handshake_ns: int = 10 * NS
    """Time until connection.open must have come; after it the connection is closed without a word."""
    server_product: str = "RabbitMQ"
    server_version: str = "3.13.7"
    """What clients are told that we are. They choose their behaviour by it, so it is the broker whose behaviour they
    will find."""
    connections_max: int = 65_536
    """Connections at once; one more is closed at once."""
    parked_bytes_max: int = 16 << 20
    """What a blocked connection that still has deliveries to acknowledge may publish before its input stops too."""
    bucket_bytes: int = 1 << 20
    """Granularity in which the log is given back; up to as much is carried in one turn (see retention.py)."""
    garbage_bytes: int = 24 << 20
    """What may lie in the log beside live messages before those that pin it are carried; or as much as is live."""
    consumer_timeout_ms: int = 1_800_000
    """Within it deliveries have to be settled, unless a queue or consumer says otherwise; 0: whenever (overdue.py)."""
    consumers_per_channel_max: int = 65_535
    """Consumers of one channel; one more closes the connection with 530."""
