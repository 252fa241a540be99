"""What a broker tells of itself: one table of metrics, and the reading of their values.

housekeeping ──► read(turn, census) ──► a list of values ──► another thread: exporter.py

Only the thread of the event loop may read what is in the table. To add a metric, add a row; names follow Prometheus'
rules (unit last, `_total` behind what only rises) and, where there is one, RabbitMQ's name for the same.
"""

import platform
from collections.abc import Callable
from typing import Final, Literal, NamedTuple

from mansio import __version__
from mansio.codec import amqp
from mansio.protocol.resp.clients import clients_of
from mansio.server import metric_values as values
from mansio.server.census import Census
from mansio.server.metric_values import Value
from mansio.server.turn import Turn


class Metric(NamedTuple):
    """One row. `name` is without `mansio_`; `read` answers numbers by the value of `label`, if there is one."""

    name: str
    kind: Literal["gauge", "counter", "histogram"]
    help: str
    read: Callable[[Turn, Census], Value]
    label: str = ""


def read(turn: Turn, census: Census) -> list[Value]:
    """The values of METRICS, in their order. To be called in the event loop's thread."""
    census.go_on(turn.broker)
    return [metric.read(turn, census) for metric in METRICS]


def build_info() -> dict[str, str]:
    """What runs: the labels of `mansio_build_info`."""
    return {
        "version": __version__,
        "python": platform.python_version(),
        "codec": "compiled" if amqp.COMPILED else "pure",
    }


METRICS: Final = (
    Metric(
        "connections",
        "gauge",
        "Connections that are open, by what they speak.",
        lambda t, _: values.connections(t),
        "protocol",
    ),
    Metric(
        "connections_opened_total",
        "counter",
        "Connections that were opened, and whose user was known.",
        lambda t, _: t.broker.counts.sessions_opened,
    ),
    Metric(
        "connections_closed_total",
        "counter",
        "Connections that were closed after they had been opened.",
        lambda t, _: t.broker.counts.sessions_opened - len(t.broker.sessions),
    ),
    Metric(
        "logins_total",
        "counter",
        "Logins that were right.",
        lambda t, _: t.broker.counts.logins,
    ),
    Metric(
        "logins_refused_total",
        "counter",
        "Logins that were refused: passwords that were wrong, unknown users, too many at a time.",
        lambda t, _: t.broker.counts.logins_refused,
    ),
    Metric(
        "tls_handshakes_total",
        "counter",
        "TLS handshakes that were done.",
        values.of_porter(lambda porter: porter.handshakes),
    ),
    Metric(
        "tls_handshakes_failed_total",
        "counter",
        "TLS handshakes that failed or took too long.",
        values.of_porter(lambda porter: porter.failures),
    ),
    Metric(
        "tls_certificate_end_time_seconds",
        "gauge",
        "Unix time when the certificate of the server ends.",
        values.of_porter(lambda porter: porter.valid_until_s),
    ),
    Metric(
        "channels",
        "gauge",
        "Channels that are open.",
        lambda t, _: t.broker.counts.channels_opened - t.broker.counts.channels_closed,
    ),
    Metric(
        "channels_opened_total",
        "counter",
        "Channels that were opened.",
        lambda t, _: t.broker.counts.channels_opened,
    ),
    Metric(
        "channels_closed_total",
        "counter",
        "Channels that were closed.",
        lambda t, _: t.broker.counts.channels_closed,
    ),
    Metric(
        "queues",
        "gauge",
        "Queues, streams and consumer groups among them.",
        lambda t, _: sum(len(host.queues) for host in t.broker.vhosts.values()),
    ),
    Metric("consumers", "gauge", "Consumers of all queues.", lambda _, c: c.sums.consumers),
    Metric(
        "messages_ready",
        "gauge",
        "Messages in queues that are ready to be delivered, but for those that streams keep.",
        lambda _, c: c.sums.ready,
    ),
    Metric(
        "messages_unacknowledged",
        "gauge",
        "Messages that were delivered and are not acknowledged yet.",
        lambda _, c: c.sums.unacknowledged,
    ),
    Metric(
        "messages_deferred",
        "gauge",
        "Messages in queues that were given back and wait to be tried again.",
        lambda _, c: c.sums.deferred,
    ),
    Metric(
        "messages_delayed",
        "gauge",
        "Messages that are held back until their delay is over.",
        lambda t, _: sum(t.broker.delays(vhost).count for vhost in t.broker.vhosts),
    ),
    Metric("streams", "gauge", "Streams.", lambda t, _: len(t.broker.streams)),
    Metric("stream_readers", "gauge", "Consumers of streams.", lambda _, c: c.sums.readers),
    Metric("stream_messages", "gauge", "Messages in streams.", lambda _, c: c.sums.stream_messages),
    Metric(
        "stream_bytes", "gauge", "Bytes of messages in streams.", lambda _, c: c.sums.stream_bytes
    ),
    Metric("groups", "gauge", "Consumer groups of streams.", lambda _, c: c.sums.groups),
    Metric(
        "group_messages_ready",
        "gauge",
        "Messages that consumer groups have not delivered yet: their lag.",
        lambda _, c: c.sums.group_ready,
    ),
    Metric(
        "messages_memory_bytes",
        "gauge",
        "Bytes of messages in memory; a message in several queues counts once.",
        lambda t, _: t.broker.memory_bytes,
    ),
    Metric(
        "memory_used_bytes",
        "gauge",
        "Memory held by messages, with what they cost beside their bytes; what the limit is for.",
        lambda t, _: values.memory_used(t),
    ),
    Metric(
        "memory_limit_bytes",
        "gauge",
        "Memory held by messages above which publishers are blocked.",
        lambda t, _: t.broker.limits.memory_bytes_max,
    ),
    Metric(
        "messages_published_total",
        "counter",
        "Messages that came from publishers.",
        lambda t, _: t.broker.counts.published,
    ),
    Metric(
        "messages_routed_total",
        "counter",
        "Published messages that went to a queue or several.",
        lambda t, _: t.broker.counts.routed,
    ),
    Metric(
        "messages_returned_total",
        "counter",
        "Published messages that no queue was for, returned because they were mandatory.",
        lambda t, _: t.broker.counts.returned,
    ),
    Metric(
        "messages_dropped_total",
        "counter",
        "Published messages that no queue was for, dropped because they were not mandatory.",
        lambda t, _: t.broker.counts.dropped,
    ),
    Metric(
        "messages_expired_total",
        "counter",
        "Messages that expired in a queue.",
        lambda t, _: t.broker.counts.expired,
    ),
    Metric(
        "stream_messages_removed_total",
        "counter",
        "Messages that went from streams because they were too many or too old.",
        lambda t, _: t.broker.counts.removed,
    ),
    Metric(
        "stream_removed_bytes_total",
        "counter",
        "Bytes of these.",
        lambda t, _: t.broker.counts.removed_bytes,
    ),
    Metric(
        "group_messages_lost_total",
        "counter",
        "Messages of these that a consumer group had not delivered, counted for each group.",
        lambda t, _: t.broker.counts.lost,
    ),
    Metric(
        "messages_dead_lettered_total",
        "counter",
        "Messages that queues handed on to their dead-letter exchange, or to the quarantine.",
        lambda t, _: t.broker.counts.dead_lettered,
    ),
    Metric(
        "messages_deduplicated_total",
        "counter",
        "Times that a queue or an exchange did not take a message because one with its id had come before.",
        lambda t, _: t.broker.counts.deduplicated,
    ),
    Metric(
        "receipts_total",
        "counter",
        "Receipts that were sent to queues.",
        lambda t, _: t.broker.counts.receipts,
    ),
    Metric(
        "messages_confirmed_total",
        "counter",
        "Published messages that were confirmed to publishers.",
        lambda t, _: t.broker.counts.confirmed,
    ),
    Metric(
        "messages_delivered_total",
        "counter",
        "Messages delivered to consumers and by basic.get.",
        lambda t, _: t.broker.counts.delivered,
    ),
    Metric(
        "messages_redelivered_total",
        "counter",
        "Delivered messages that were marked as redelivered.",
        lambda t, _: t.broker.counts.redelivered,
    ),
    Metric(
        "messages_timed_out_total",
        "counter",
        "Messages that were requeued because their consumer did not acknowledge in time.",
        lambda t, _: t.broker.counts.timed_out,
    ),
    Metric(
        "messages_acknowledged_total",
        "counter",
        "Messages that were acknowledged, or rejected for good, by consumers.",
        lambda t, _: t.broker.counts.acknowledged,
    ),
    Metric(
        "redis_commands_total",
        "counter",
        "Commands of Redis clients that were executed, or refused.",
        lambda t, _: clients_of(t.broker).commands,
    ),
    Metric(
        "publishers_blocked",
        "gauge",
        "Whether publishers are blocked (1) because this runs short.",
        lambda t, _: values.blocked(t),
        "reason",
    ),
    Metric(
        "publisher_blocks_total",
        "counter",
        "Times that publishers were blocked, by what ran short at first.",
        lambda t, _: t.blocks.copy(),
        "reason",
    ),
    Metric(
        "log_used_bytes",
        "gauge",
        "Bytes of the log's files.",
        lambda t, _: t.space and t.space.used_bytes,
    ),
    Metric(
        "log_free_bytes",
        "gauge",
        "Bytes by which the log may still grow.",
        lambda t, _: values.free_bytes(t),
    ),
    Metric(
        "log_segments",
        "gauge",
        "Files of the log that hold entries.",
        lambda t, _: t.space and t.space.segments,
    ),
    Metric(
        "log_low",
        "gauge",
        "Whether the log runs short of space (1).",
        lambda t, _: t.space and float(t.space.low),
    ),
    Metric(
        "log_live_bytes",
        "gauge",
        "Bytes of the log's records of messages that are not settled.",
        lambda t, _: t.broker.journal.retention.live_bytes,
    ),
    Metric(
        "log_garbage_bytes",
        "gauge",
        "Bytes of the log's entries beside these.",
        lambda t, _: values.garbage_bytes(t),
    ),
    Metric(
        "log_appended_entries_total",
        "counter",
        "Entries appended to the log; one holds the changes of many turns.",
        lambda t, _: t.appends.entries,
    ),
    Metric("log_appended_bytes_total", "counter", "Bytes of these.", lambda t, _: t.appends.bytes),
    Metric(
        "log_append_seconds",
        "histogram",
        "Time that it took to append an entry and, as `sync` says, to sync it.",
        lambda t, _: values.append_seconds(t),
    ),
    Metric(
        "log_append_errors_total", "counter", "Appends that failed.", lambda t, _: t.appends.errors
    ),
    Metric(
        "log_last_seq",
        "gauge",
        "Number of the last entry that was appended.",
        lambda t, _: t.appends.last_seq,
    ),
    Metric(
        "log_trimmed_seq",
        "gauge",
        "Number of the last entry that the log was told to forget.",
        lambda t, _: t.appends.trimmed_seq,
    ),
)
"""All but `mansio_build_info`, which never changes."""
