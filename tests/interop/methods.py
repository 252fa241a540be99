"""The methods of AMQP 0-9-1 as one compact table, written independently of Mansio's own codec.

Each line: class id, method id, name, then `field:type` with o octet, h short, l long, L long long, s short string,
S long string, b bit, F table; `_` marks a reserved field (sent as zero unless a transcript sets it, never shown).
Source: AMQP 0-9-1 specification, section 1.x "Class and Method Reference", and RabbitMQ's published extensions.
"""

from __future__ import annotations

from dataclasses import dataclass

TABLE = """
10 10 connection.start version_major:o version_minor:o server_properties:F mechanisms:S locales:S
10 11 connection.start-ok client_properties:F mechanism:s response:S locale:s
10 20 connection.secure challenge:S
10 21 connection.secure-ok response:S
10 30 connection.tune channel_max:h frame_max:l heartbeat:h
10 31 connection.tune-ok channel_max:h frame_max:l heartbeat:h
10 40 connection.open virtual_host:s _capabilities:s _insist:b
10 41 connection.open-ok _known_hosts:s
10 50 connection.close reply_code:h reply_text:s class_id:h method_id:h
10 51 connection.close-ok
10 60 connection.blocked reason:s
10 61 connection.unblocked
10 70 connection.update-secret new_secret:S reason:s
10 71 connection.update-secret-ok
20 10 channel.open _out_of_band:s
20 11 channel.open-ok _channel_id:S
20 20 channel.flow active:b
20 21 channel.flow-ok active:b
20 40 channel.close reply_code:h reply_text:s class_id:h method_id:h
20 41 channel.close-ok
40 10 exchange.declare _ticket:h exchange:s type:s passive:b durable:b auto_delete:b internal:b no_wait:b arguments:F
40 11 exchange.declare-ok
40 20 exchange.delete _ticket:h exchange:s if_unused:b no_wait:b
40 21 exchange.delete-ok
40 30 exchange.bind _ticket:h destination:s source:s routing_key:s no_wait:b arguments:F
40 31 exchange.bind-ok
40 40 exchange.unbind _ticket:h destination:s source:s routing_key:s no_wait:b arguments:F
40 51 exchange.unbind-ok
50 10 queue.declare _ticket:h queue:s passive:b durable:b exclusive:b auto_delete:b no_wait:b arguments:F
50 11 queue.declare-ok queue:s message_count:l consumer_count:l
50 20 queue.bind _ticket:h queue:s exchange:s routing_key:s no_wait:b arguments:F
50 21 queue.bind-ok
50 30 queue.purge _ticket:h queue:s no_wait:b
50 31 queue.purge-ok message_count:l
50 40 queue.delete _ticket:h queue:s if_unused:b if_empty:b no_wait:b
50 41 queue.delete-ok message_count:l
50 50 queue.unbind _ticket:h queue:s exchange:s routing_key:s arguments:F
50 51 queue.unbind-ok
60 10 basic.qos prefetch_size:l prefetch_count:h global:b
60 11 basic.qos-ok
60 20 basic.consume _ticket:h queue:s consumer_tag:s no_local:b no_ack:b exclusive:b no_wait:b arguments:F
60 21 basic.consume-ok consumer_tag:s
60 30 basic.cancel consumer_tag:s no_wait:b
60 31 basic.cancel-ok consumer_tag:s
60 40 basic.publish _ticket:h exchange:s routing_key:s mandatory:b immediate:b
60 50 basic.return reply_code:h reply_text:s exchange:s routing_key:s
60 60 basic.deliver consumer_tag:s delivery_tag:L redelivered:b exchange:s routing_key:s
60 70 basic.get _ticket:h queue:s no_ack:b
60 71 basic.get-ok delivery_tag:L redelivered:b exchange:s routing_key:s message_count:l
60 72 basic.get-empty _cluster_id:s
60 80 basic.ack delivery_tag:L multiple:b
60 90 basic.reject delivery_tag:L requeue:b
60 100 basic.recover-async requeue:b
60 110 basic.recover requeue:b
60 111 basic.recover-ok
60 120 basic.nack delivery_tag:L multiple:b requeue:b
85 10 confirm.select no_wait:b
85 11 confirm.select-ok
90 10 tx.select
90 11 tx.select-ok
90 20 tx.commit
90 21 tx.commit-ok
90 30 tx.rollback
90 31 tx.rollback-ok
"""

# Content properties in the order of their flag bits (bit 15 first): AMQP 0-9-1, class basic.
PROPERTIES: tuple[tuple[str, str], ...] = (
    ("content_type", "s"), ("content_encoding", "s"), ("headers", "F"), ("delivery_mode", "o"),
    ("priority", "o"), ("correlation_id", "s"), ("reply_to", "s"), ("expiration", "s"),
    ("message_id", "s"), ("timestamp", "L"), ("type", "s"), ("user_id", "s"), ("app_id", "s"),
    ("cluster_id", "s"),
)  # fmt: skip

CONTENT_METHODS = frozenset({"basic.publish", "basic.return", "basic.deliver", "basic.get-ok"})


@dataclass(frozen=True, slots=True)
class Method:
    """One method: its ids, its name and its fields as (name, type) in wire order."""

    class_id: int
    method_id: int
    name: str
    fields: tuple[tuple[str, str], ...]


def read_table() -> list[Method]:
    """Parse TABLE."""
    methods = []
    for line in TABLE.strip().splitlines():
        class_id, method_id, name, *fields = line.split()
        pairs = [(field.split(":")[0], field.split(":")[1]) for field in fields]
        methods.append(Method(int(class_id), int(method_id), name, tuple(pairs)))
    return methods


BY_NAME: dict[str, Method] = {method.name: method for method in read_table()}
BY_ID: dict[tuple[int, int], Method] = {(m.class_id, m.method_id): m for m in read_table()}
