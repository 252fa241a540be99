"""Queues and exchanges that take one message of those with the same id."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.codec.amqp_values import Table
from mansio.core import journal
from mansio.core.records import encode_topology
from mansio.core.topology_records import take_snapshot
from tests.protocol.lasting import LastingWorld, settle_down, take
from tests.protocol.talk import Message, Talker, publish_frames

DEDUP = {"x-message-deduplication": True}


def scene(name: str = "q", **arguments: Any) -> tuple[LastingWorld, Talker]:
    """A client, and a durable queue with these arguments."""
    world = LastingWorld()
    talker = world.client()
    declare(talker, name, **arguments)
    return world, talker


def declare(talker: Talker, name: str, **arguments: Any) -> None:
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    talker.call(1, m.QueueDeclare(name, durable=True, arguments=arguments))


def exchange(talker: Talker, *queues: str, **arguments: Any) -> None:
    """A durable fanout exchange `e` with these arguments, and queues bound to it."""
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    talker.call(1, m.ExchangeDeclare("e", "fanout", durable=True, arguments=arguments))
    for queue in queues:
        talker.call(1, m.QueueBind(queue, "e", ""))


def publish(talker: Talker, id: Any, key: str = "q", **how: Any) -> list[Any]:
    """Publishes a message with this id, ends the turn, and answers what the publisher heard."""
    headers = {"x-deduplication-header": id} | how.pop("headers", {})
    properties = Properties(headers=headers, delivery_mode=how.pop("mode", 2))
    talker.publish(1, key, str(id).encode()[:50], properties=properties, **how)
    return settle_down(talker.world, talker)  # type: ignore[arg-type]


def bodies(talker: Talker, queue: str = "q") -> list[bytes]:
    return [message.body for message in take(talker, queue)]


# -- queues, until settled


def test_a_queue_takes_an_id_once_while_it_has_a_message_with_it() -> None:
    world, talker = scene(x_message_deduplication=True)
    for id in ("a", "a", "b", "a"):
        publish(talker, id)
    assert world.ready("q") == 2, "ready"
    (got,) = talker.call(1, m.BasicGet("q"))
    publish(talker, "a")
    assert world.ready("q") == 1, "in flight"
    talker.call(1, m.BasicReject(got.method.delivery_tag, requeue=True))
    publish(talker, "a")
    assert bodies(talker) == [b"a", b"b"], "given back"
    publish(talker, "a")
    assert bodies(talker) == [b"a"], "settled: it may come again"
    assert world.broker.counts.deduplicated == world.broker.counts.duplicates == 4
    assert world.broker.counts.published == 7


@pytest.mark.parametrize("exchange", ["", "amq.headers"])
def test_who_acknowledges_a_message_may_publish_its_id_again_at_once(exchange: str) -> None:
    """Both may arrive in one buffer."""
    world, talker = scene(x_message_deduplication=True)
    talker.call(1, m.QueueBind("q", "amq.headers", "", arguments={"x-match": "any"}))
    talker.call(1, m.QueueBind("q", "amq.headers", "", arguments={}))
    properties = Properties(headers={"x-deduplication-header": "a"})
    again = publish_frames(1, "q", properties=properties, exchange=exchange)
    for _ in range(3):
        talker.send_bytes(again + again)
        (got,) = talker.call(1, m.BasicGet("q"))
        talker.send_bytes(again + m.method_frame(1, m.BasicAck(got.method.delivery_tag)) + again)
        world.turn()
        assert world.ready("q") == 1
        (got,) = talker.call(1, m.BasicGet("q"))
        talker.call(1, m.BasicAck(got.method.delivery_tag))


@pytest.mark.parametrize("way", ["ack", "reject", "purge", "no ack"])
def test_an_id_is_free_after_every_kind_of_end(way: str) -> None:
    world, talker = scene(x_message_deduplication=True)
    publish(talker, "a")
    if way == "purge":
        talker.call(1, m.QueuePurge("q"))
    elif way == "no ack":
        talker.call(1, m.BasicConsume("q", "c", no_ack=True))
        talker.call(1, m.BasicCancel("c"))
    else:
        (got,) = talker.call(1, m.BasicGet("q"))
        tag = got.method.delivery_tag
        talker.call(1, m.BasicAck(tag) if way == "ack" else m.BasicReject(tag, requeue=False))
    assert world.ready("q") == 0
    publish(talker, "a")
    assert world.ready("q") == 1


def test_messages_without_an_id_are_not_touched() -> None:
    world, talker = scene(x_message_deduplication=True)
    for _ in range(3):
        talker.publish(1, "q")
    world.turn()
    assert world.ready("q") == 3
    assert world.broker.counts.deduplicated == 0


def test_queues_that_do_not_ask_for_it_take_everything() -> None:
    world, talker = scene()
    for _ in range(3):
        publish(talker, "a")
    assert world.ready("q") == 3


def test_ids_that_are_not_texts_count_by_their_texts() -> None:
    world, talker = scene(x_message_deduplication=True)
    for id in (1, "1", True, "true", 2.5, "2.5"):
        publish(talker, id)
    assert world.ready("q") == 3


def test_long_ids_are_told_apart_but_not_kept() -> None:
    world, talker = scene(x_message_deduplication=True)
    for id in ("x" * 5000, "x" * 5000, "x" * 5000 + "y"):
        publish(talker, id)
    assert world.ready("q") == 2
    held = world.broker.vhosts["/"].queues["q"].dedup
    assert held is not None and max(map(len, held.counts)) < 200  # type: ignore[union-attr]


def test_a_duplicate_for_one_queue_goes_to_the_others() -> None:
    world, talker = scene(x_message_deduplication=True)
    declare(talker, "plain")
    exchange(talker, "q", "plain")
    for _ in range(2):
        assert publish(talker, "a", "", exchange="e", mandatory=True) == []
    assert (world.ready("q"), world.ready("plain")) == (1, 2)
    assert (world.broker.counts.deduplicated, world.broker.counts.duplicates) == (1, 0)


def test_ids_count_by_way_of_cc_and_of_headers_exchanges_too() -> None:
    world, talker = scene(x_message_deduplication=True)
    declare(talker, "plain")
    for _ in range(2):
        publish(talker, "a", "plain", headers={"CC": ["q"]})
    assert (world.ready("q"), world.ready("plain")) == (1, 2)
    talker.call(1, m.QueueBind("q", "amq.headers", "", arguments={"x": 1}))
    for _ in range(2):
        publish(talker, "b", "", exchange="amq.headers", headers={"x": 1})
    assert world.ready("q") == 2


# -- what the publisher hears


def test_a_duplicate_is_confirmed_and_returned_if_it_was_mandatory() -> None:
    _, talker = scene(x_message_deduplication=True)
    talker.call(1, m.ConfirmSelect())
    assert publish(talker, "a", mandatory=True) == [m.BasicAck(1)]
    returned, ack = publish(talker, "a", mandatory=True)
    assert returned.method == m.BasicReturn(208, "DUPLICATE", "", "q")
    assert returned.body == b"a"
    assert ack == m.BasicAck(2)
    assert publish(talker, "a") == [m.BasicAck(3)]


def test_a_duplicate_is_confirmed_only_when_the_first_one_is_safe() -> None:
    world, talker = scene(x_message_deduplication=True)
    talker.call(1, m.ConfirmSelect())
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    for _ in range(2):
        talker.publish(1, "q", properties=properties)
        world.turn(durable=False)
        assert talker.hear() == []
    world.broker.durable(world.ticket)
    assert [item for _, item in talker.hear()] == [m.BasicAck(1), m.BasicAck(2)]


def test_in_a_transaction_ids_are_looked_at_when_it_is_committed() -> None:
    world, talker = scene(x_message_deduplication=True)
    talker.call(1, m.TxSelect())
    publish(talker, "a")
    publish(talker, "a", mandatory=True)
    talker.call(1, m.TxRollback())
    publish(talker, "a")
    publish(talker, "a", mandatory=True)
    returned, done = talker.call(1, m.TxCommit())
    assert isinstance(returned, Message) and returned.method.reply_code == 208
    assert done == m.TxCommitOk()
    assert world.ready("q") == 1


# -- windows


def test_a_queue_with_a_time_takes_an_id_once_in_that_time() -> None:
    world, talker = scene(x_message_deduplication=True, x_cache_ttl=1000)
    publish(talker, "a")
    assert bodies(talker) == [b"a"]
    world.broker.now_ms += 999
    publish(talker, "a")
    assert bodies(talker) == [], "settled, but too early; and that does not prolong the time"
    world.broker.now_ms += 1
    publish(talker, "a")
    assert bodies(talker) == [b"a"]


def test_a_message_may_ask_for_another_time() -> None:
    world, talker = scene(x_message_deduplication=True, x_cache_ttl=1000)
    publish(talker, "a", headers={"x-cache-ttl": 5000})
    publish(talker, "b", headers={"x-cache-ttl": "no number"})
    world.broker.now_ms += 4999
    publish(talker, "a")
    publish(talker, "b")
    assert bodies(talker) == [b"a", b"b", b"b"]


def test_an_exchange_takes_an_id_once_for_all_its_queues() -> None:
    world, talker = scene("q")
    declare(talker, "p")
    exchange(talker, "p", "q", x_message_deduplication=True, x_cache_ttl=1000)
    talker.call(1, m.ConfirmSelect())
    assert publish(talker, "a", "", exchange="e", mandatory=True) == [m.BasicAck(1)]
    returned, _ = publish(talker, "a", "", exchange="e", mandatory=True)
    assert returned.method == m.BasicReturn(208, "DUPLICATE", "e", "")
    publish(talker, "a", "q")
    assert (world.ready("p"), world.ready("q")) == (1, 2), "the default exchange does not care"
    world.broker.now_ms += 1000
    publish(talker, "a", "", exchange="e")
    assert (world.ready("p"), world.ready("q")) == (2, 3)


def test_an_exchange_without_a_time_remembers_the_last_ids() -> None:
    world, talker = scene()
    exchange(talker, "q", x_message_deduplication=True, x_cache_size=2)
    world.broker.now_ms += 10**12
    for id in ("a", "b", "a", "c", "b", "a"):
        publish(talker, id, "", exchange="e")
    assert bodies(talker) == [b"a", b"b", b"c", b"a"]


def test_what_led_nowhere_is_not_remembered() -> None:
    world, talker = scene()
    exchange(talker, x_message_deduplication=True)
    (returned,) = publish(talker, "a", "", exchange="e", mandatory=True)
    assert returned.method.reply_code == 312
    talker.call(1, m.QueueBind("q", "e", ""))
    publish(talker, "a", "", exchange="e")
    assert world.ready("q") == 1


def test_a_duplicate_is_not_in_the_history_of_an_exchange() -> None:
    world, talker = scene(x_message_deduplication=True)
    declare(talker, "later")
    arguments = {"x-message-deduplication": True, "x-cache-size": 1}
    talker.call(1, m.ExchangeDeclare("h", "x-recent-history", arguments=arguments))
    publish(talker, "a", "", exchange="h", mandatory=True)
    talker.call(1, m.QueueBind("later", "h", ""))
    assert bodies(talker, "later") == [b"a"]
    talker.call(1, m.QueueUnbind("later", "h", ""), m.QueueBind("q", "h", ""))
    talker.call(1, m.QueuePurge("q"))
    for id in ("a", "b", "a"):
        publish(talker, id, "", exchange="h")
    assert world.ready("q") == 2, "a was not routed at first; then it was, and is held by the queue"
    talker.call(1, m.QueueBind("later", "h", ""))
    assert bodies(talker, "later") == [b"a", b"a", b"b"]


def test_a_duplicate_that_only_a_history_would_take_is_returned_once() -> None:
    _, talker = scene()
    talker.call(1, m.ExchangeDeclare("h", "x-recent-history", arguments=DEDUP))
    talker.call(1, m.QueueBind("q", "h", ""))
    publish(talker, "a", "", exchange="h")
    talker.call(1, m.QueueUnbind("q", "h", ""))
    (returned,) = publish(talker, "a", "", exchange="h", mandatory=True)
    assert returned.method.reply_code == 208
    (returned,) = publish(talker, "b", "", exchange="h", mandatory=True)
    assert returned.method.reply_code == 312
    declare(talker, "later")
    talker.call(1, m.QueueBind("later", "h", ""))
    assert bodies(talker, "later") == [b"a", b"b"]


@pytest.mark.parametrize("queue", [{}, {"x-cache-ttl": 10**6}])
def test_what_a_full_queue_refused_is_not_remembered(queue: dict[str, Any]) -> None:
    arguments = DEDUP | {"x-max-length": 1, "x-overflow": "reject-publish"} | queue
    world, talker = scene(**{key.replace("-", "_"): value for key, value in arguments.items()})
    exchange(talker, "q", x_message_deduplication=True)
    talker.call(1, m.ConfirmSelect())
    publish(talker, "a")
    assert publish(talker, "b", "", exchange="e") == [m.BasicNack(2, requeue=False)]
    assert bodies(talker) == [b"a"]
    world = world.restarted()
    talker = world.client()
    publish(talker, "b", "", exchange="e")
    assert bodies(talker) == [b"b"]


def test_what_the_broker_moves_is_never_a_duplicate() -> None:
    """Dead letters that come back to the queue which still has the message, or within its window."""
    arguments = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "q"}
    world, talker = scene(x_message_deduplication=True, **arguments)
    declare(talker, "timed", x_message_deduplication=True, x_cache_ttl=10**6)
    publish(talker, "a")
    (got,) = talker.call(1, m.BasicGet("q"))
    talker.call(1, m.BasicReject(got.method.delivery_tag, requeue=False))
    assert world.ready("q") == 1
    publish(talker, "a")
    assert world.ready("q") == 1, "and it is held again"
    assert bodies(talker) == [b"a"]
    publish(talker, "a")
    assert world.ready("q") == 1


@pytest.mark.parametrize("receipt", [False, True])
def test_a_dead_letter_holds_its_id_though_it_came_from_a_queue_that_does_not_look(
    receipt: bool,
) -> None:
    world, talker = scene("q", x_message_deduplication=True)
    declare(talker, "plain", x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    headers = {"x-deduplication-header": "a"} | ({"x-receipt": True} if receipt else {})
    properties = Properties(headers=headers, delivery_mode=2, reply_to="nowhere")
    talker.publish(1, "plain", b"a", properties=properties)
    (got,) = talker.call(1, m.BasicGet("plain"))
    talker.call(1, m.BasicReject(got.method.delivery_tag, requeue=False))
    publish(talker, "a")
    assert world.ready("q") == 1
    world = world.restarted()
    talker = world.client()
    publish(talker, "a")
    assert bodies(talker) == [b"a"]


def test_what_an_exchange_remembered_holds_its_id_where_it_comes_to() -> None:
    world, talker = scene(x_message_deduplication=True)
    talker.call(1, m.ExchangeDeclare("h", "x-recent-history", durable=True))
    publish(talker, "a", "", exchange="h")
    talker.call(1, m.QueueBind("q", "h", ""))
    publish(talker, "a")
    assert world.ready("q") == 1
    world = world.restarted()
    talker = world.client()
    publish(talker, "a")
    assert bodies(talker) == [b"a"]
    publish(talker, "a")
    assert world.ready("q") == 1, "settled: it may come again"


# -- duplicates of what a full queue refuses


def full(**arguments: Any) -> tuple[LastingWorld, Talker]:
    """A queue that deduplicates, with one message, which is full; behind a fanout exchange. A channel with confirms."""
    world, talker = scene(
        x_message_deduplication=True, x_max_length=1, x_overflow="reject-publish", **arguments
    )
    talker.call(1, m.ConfirmSelect())
    publish(talker, "first")
    return world, talker


def publish_at_once(talker: Talker, *ids: str, **how: Any) -> list[Any]:
    """Publishes messages with these ids in one turn, and answers what the publisher heard."""
    for id in ids:
        properties = Properties(headers={"x-deduplication-header": id}, delivery_mode=2)
        talker.publish(1, "q", id.encode(), properties=properties, **how)
    return settle_down(talker.world, talker)  # type: ignore[arg-type]


def nacks(*numbers: int) -> list[Any]:
    return [m.BasicNack(number, requeue=False) for number in numbers]


@pytest.mark.parametrize("arguments", [{}, {"x_cache_ttl": 1000}])
def test_a_duplicate_is_refused_with_the_first_one(arguments: dict[str, Any]) -> None:
    _world, talker = full(**arguments)
    assert publish_at_once(talker, "a", "a", "first", "a") == [
        *nacks(2, 3),
        m.BasicAck(4),
        *nacks(5),
    ]
    assert bodies(talker) == [b"first"]
    assert publish_at_once(talker, "a", "a") == [m.BasicAck(7, multiple=True)]
    assert bodies(talker) == [b"a"]


def publish_apart(world: LastingWorld, talker: Talker, *ways: tuple[str, str]) -> list[Any]:
    """Publishes one id twice to each exchange and key, in one turn, and each time when its time was over."""
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    for name, key in ways:
        for _ in range(2):
            talker.publish(1, key, b"a", exchange=name, properties=properties)
        world.broker.now_ms += 1000
    return settle_down(world, talker)


def test_a_duplicate_is_refused_with_the_first_one_though_its_id_came_anew_in_this_turn() -> None:
    world, talker = full(x_cache_ttl=1000)
    assert publish_apart(world, talker, ("", "q"), ("", "q")) == nacks(2, 3, 4, 5)
    assert bodies(talker) == [b"first"]


def test_a_duplicate_is_refused_only_with_the_one_that_it_came_behind() -> None:
    world, talker = scene(x_max_length=0, x_overflow="reject-publish")
    declare(talker, "open")
    declared = {"x-message-deduplication": True, "x-cache-ttl": 1000}
    talker.call(1, m.ExchangeDeclare("e", "direct", durable=True, arguments=declared))
    for name in ("q", "open"):
        talker.call(1, m.QueueBind(name, "e", name))
    talker.call(1, m.ConfirmSelect())
    heard = publish_apart(world, talker, ("e", "q"), ("e", "open"))
    assert heard == [*nacks(1, 2), m.BasicAck(4, multiple=True)]
    world.broker.now_ms -= 1
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    talker.publish(1, "open", b"a", exchange="e", properties=properties)
    assert settle_down(world, talker) == [m.BasicAck(5)]
    assert bodies(talker, "open") == [b"a"], "the second one is remembered"


def test_what_an_exchange_takes_for_a_duplicate_is_refused_with_the_first_one() -> None:
    world, talker = scene(x_max_length=0, x_overflow="reject-publish")
    declare(talker, "open")
    exchange(talker, "q", "open", x_message_deduplication=True)
    talker.call(1, m.ConfirmSelect())
    assert publish_at_once(talker, "a", "a", exchange="e") == nacks(1, 2)
    talker.call(1, m.QueueUnbind("q", "e", ""))
    assert publish_at_once(talker, "a", "a", exchange="e") == [m.BasicAck(4, multiple=True)]
    assert world.ready("open") == 2


def test_a_delayed_duplicate_is_refused_with_the_first_one() -> None:
    world, talker = scene(x_max_length=0, x_overflow="reject-publish")
    exchange(talker, "q", x_message_deduplication=True)
    talker.call(1, m.ConfirmSelect())
    for delay in (0, 1000):
        headers = {"x-deduplication-header": "a", "x-delay": delay}
        talker.publish(1, "", properties=Properties(headers=headers), exchange="e")
    assert settle_down(world, talker) == nacks(1, 2)
    assert world.broker.delays("/").count == 0


def test_a_transaction_with_a_duplicate_is_refused_with_the_first_one() -> None:
    _world, talker = full()
    talker.call(2, m.ChannelOpen())
    talker.call(2, m.TxSelect())
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    talker.publish(1, "q", b"a", properties=properties)
    talker.publish(2, "q", b"a", properties=properties)
    (closed,) = talker.call(2, m.TxCommit())
    assert (closed.NAME, closed.reply_code) == ("channel.close", 406)
    assert bodies(talker) == [b"first"]


def test_a_duplicate_of_what_is_still_there_is_not_refused() -> None:
    """With a dead letter that has the same id."""
    _world, talker = full()
    declare(talker, "plain", x_dead_letter_exchange="", x_dead_letter_routing_key="q")
    publish(talker, "first", "plain")
    (got,) = talker.call(1, m.BasicGet("plain"))
    talker.send(1, m.BasicReject(got.method.delivery_tag, requeue=False))
    assert publish_at_once(talker, "first") == [m.BasicAck(3)]
    assert bodies(talker) == [b"first"]


def test_a_duplicate_of_what_was_settled_since_is_not_refused() -> None:
    _world, talker = scene(
        x_message_deduplication=True, x_max_length=1, x_overflow="reject-publish"
    )
    talker.call(1, m.ConfirmSelect())
    publish(talker, "a")
    (got,) = talker.call(1, m.BasicGet("q"))
    publish(talker, "b")
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    talker.publish(1, "q", b"a", properties=properties)
    talker.send(1, m.BasicAck(got.method.delivery_tag))
    assert publish_at_once(talker, "a", "a") == [m.BasicAck(3), *nacks(4, 5)]
    assert bodies(talker) == [b"b"]


# -- restarts


@pytest.mark.parametrize("page_bytes", [0, 1])
def test_a_queue_knows_its_ids_after_a_restart_without_reading(page_bytes: int) -> None:
    world, talker = scene(x_message_deduplication=True)
    for id in ("a", "b"):
        publish(talker, id)
    talker.call(1, m.BasicGet("q", no_ack=True))
    world = world.restarted(page_bytes=page_bytes)
    talker = world.client()
    publish(talker, "b")
    publish(talker, "a")
    assert world.ready("q") == 2
    assert not world.broker.paging.loading.wanted


def cut(world: LastingWorld) -> None:
    """Replaces the log by a snapshot, as it is cut once nothing in front of one is needed."""
    world.parts[:] = [[b"".join(encode_topology(take_snapshot(world.broker)))]]


@pytest.mark.parametrize("snapshot", [False, True])
def test_windows_survive_restarts(snapshot: bool) -> None:
    world, talker = scene(x_message_deduplication=True, x_cache_ttl=1000)
    declare(talker, "p")
    exchange(talker, "p", x_message_deduplication=True, x_cache_size=2)
    for id in ("a", "b", "c"):
        publish(talker, id)
        publish(talker, id, "", exchange="e")
    publish(talker, "transient", "", exchange="e", mode=1)
    bodies(talker)
    bodies(talker, "p")
    if snapshot:
        cut(world)
        publish(talker, "d", "", exchange="e")
        bodies(talker, "p")
    world = world.restarted().restarted()
    talker = world.client()
    for id in ("a", "b", "c"):
        publish(talker, id)
    assert bodies(talker) == []
    for id in ("d", "c", "transient"):
        publish(talker, id, "", exchange="e")
    expected = [b"transient"] if snapshot else [b"d", b"transient"]
    assert bodies(talker, "p") == expected
    world.broker.now_ms += 1000
    publish(talker, "a")
    assert bodies(talker) == [b"a"]


def test_windows_go_with_their_exchange() -> None:
    world, talker = scene()
    for _ in range(2):
        exchange(talker, "q", x_message_deduplication=True)
        publish(talker, "a", "", exchange="e")
        talker.call(1, m.ExchangeDelete("e"))
    assert world.ready("q") == 2
    assert world.restarted().ready("q") == 2


def test_an_exchange_that_is_declared_anew_in_the_same_turn_has_seen_nothing() -> None:
    world, talker = scene()
    exchange(talker, "q", x_message_deduplication=True)
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    talker.publish(1, "", exchange="e", properties=properties)
    talker.send(1, m.ExchangeDelete("e"))
    exchange(talker, "q", x_message_deduplication=True)
    world = world.restarted()
    publish(world.client(), "a", "", exchange="e")
    assert world.ready("q") == 2


def test_no_window_remembers_what_a_crash_has_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each message goes into an entry of its own here, and the log may end behind any of them."""
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    world, talker = scene()
    exchange(talker, "q", x_message_deduplication=True)
    for id in "abc":
        properties = Properties(headers={"x-deduplication-header": id}, delivery_mode=2)
        talker.publish(1, "", id.encode(), exchange="e", properties=properties)
    before = len(world.parts)
    world.turn()
    assert len(world.parts) >= before + 3
    for upto in range(before, len(world.parts) + 1):
        crashed = world.restarted(upto)
        again = crashed.client()
        for id in "abc":
            publish(again, id, "", exchange="e")
        assert set(bodies(again)) == {b"a", b"b", b"c"}


def test_a_message_for_many_is_with_all_of_them_and_remembered_or_lost_as_a_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log may end between any two of its entries, and the producer publishes again then."""
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    world, talker = scene()
    for name in ("s", "t"):
        declare(talker, name, x_queue_type="stream", x_message_deduplication=True)
    exchange(talker, "q", "s", "t", x_message_deduplication=True)
    properties = Properties(headers={"x-producer": "p", "x-publishing-id": 1}, delivery_mode=2)
    frames = publish_frames(1, "", b"a", exchange="e", properties=properties)
    before = len(world.parts)
    talker.send_bytes(publish_frames(1, "q", b"b") + frames)
    world.turn()
    assert len(world.parts) > before
    for upto in range(before, len(world.parts) + 1):
        crashed = world.restarted(upto)
        again = crashed.client()
        again.send_bytes(frames)
        settle_down(crashed, again)
        assert [crashed.ready(name) for name in "qst"] == [1, 1, 1]


def test_no_exchange_remembers_a_delayed_message_that_a_crash_has_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    world, talker = scene()
    exchange(talker, "q", x_message_deduplication=True)
    headers: Table = {"x-deduplication-header": "a", "x-delay": 1000}
    properties = Properties(headers=headers, delivery_mode=2)
    before = len(world.parts)
    for _ in range(2):
        talker.publish(1, "q", b"b", properties=Properties(delivery_mode=2))
    talker.publish(1, "", b"a", exchange="e", properties=properties)
    world.turn()
    assert len(world.parts) > before
    for upto in range(before, len(world.parts) + 1):
        crashed = world.restarted(upto)
        again = crashed.client()
        again.publish(1, "", b"a", exchange="e", properties=properties)
        settle_down(crashed, again)
        assert crashed.broker.delays("/").count == 1


# -- declaring


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        ({"x-message-deduplication": "yes"}, "x-message-deduplication"),
        (DEDUP | {"x-cache-ttl": "1"}, "x-cache-ttl"),
        (DEDUP | {"x-cache-ttl": 0}, "x-cache-ttl"),
        (DEDUP | {"x-cache-size": 10**9}, "x-cache-size"),
        (DEDUP | {"x-cache-size": True}, "x-cache-size"),
    ],
)
@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_arguments_that_make_no_sense_are_refused(
    kind: str, arguments: dict[str, Any], wrong: str
) -> None:
    talker = LastingWorld().client()
    method = m.QueueDeclare("x", arguments=arguments)
    if kind == "exchange":
        method = m.ExchangeDeclare("x", "direct", arguments=arguments)  # type: ignore[assignment]
    (close,) = talker.call(1, method)
    assert close.reply_code == 406 and f"invalid arg '{wrong}' for {kind} 'x'" in close.reply_text


@pytest.mark.parametrize("kind", ["queue", "exchange"])
def test_to_declare_again_without_it_changes_nothing(kind: str) -> None:
    """As with all arguments that RabbitMQ does not know."""
    talker = LastingWorld().client()
    declarations = [
        m.QueueDeclare("x", arguments=arguments)
        if kind == "queue"
        else m.ExchangeDeclare("x", "direct", arguments=arguments)
        for arguments in (DEDUP, {})
    ]
    talker.call(1, declarations[0])
    (ok,) = talker.call(1, declarations[1])
    assert isinstance(ok, m.QueueDeclareOk | m.ExchangeDeclareOk)


def test_what_was_learnt_goes_with_the_virtual_host() -> None:
    world, talker = scene(x_message_deduplication=True, x_cache_ttl=60_000)
    properties = Properties(headers={"x-deduplication-header": "a"}, delivery_mode=2)
    talker.publish(1, "q", b"a", properties=properties)
    world.broker.administration.delete_vhost("/")
    world.turn()
    assert not world.broker.vhosts
