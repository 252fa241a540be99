"""Receipts: who publishes hears what became of the message, in every way in which messages end."""

from typing import Any

import pytest

from mansio.codec import amqp_methods as m
from mansio.codec.amqp_properties import Properties
from mansio.core import journal
from mansio.core.settling import RETURNS_MAX
from tests.protocol.lasting import LastingWorld, settle_down, take
from tests.protocol.talk import Message, Talker


def scene(**arguments: Any) -> tuple[LastingWorld, Talker]:
    """A client, a durable queue `q` with these arguments, and a durable queue `r` for receipts."""
    world = LastingWorld()
    talker = world.client()
    arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
    talker.call(1, m.QueueDeclare("q", durable=True, arguments=arguments))
    talker.call(1, m.QueueDeclare("r", durable=True))
    return world, talker


def publish(talker: Talker, key: str = "q", body: bytes = b"hello", **how: Any) -> list[Any]:
    """Publishes a message that asks for a receipt to `r`, and answers what the publisher heard."""
    fields = {
        name: how.pop(name)
        for name in ("expiration", "message_id", "correlation_id")
        if name in how
    }
    properties = Properties(
        headers={"x-receipt": True} | how.pop("headers", {}),
        reply_to=how.pop("reply_to", "r"),
        delivery_mode=how.pop("mode", 2),
        **fields,
    )
    talker.publish(1, key, body, properties=properties, **how)
    return settle_down(talker.world, talker)  # type: ignore[arg-type]


def receipts(talker: Talker) -> list[tuple[str, str | None]]:
    """(outcome, queue) of the receipts that have come."""
    talker.world.turn()
    return [
        (headers["x-receipt-outcome"], headers.get("x-receipt-queue"))
        for headers in (message.properties.headers or {} for message in take(talker, "r"))
    ]


def get(talker: Talker, queue: str = "q") -> int:
    """Takes a message; answers its delivery tag."""
    (got,) = talker.call(1, m.BasicGet(queue))
    return int(got.method.delivery_tag)


# -- what a receipt says


def test_an_acknowledged_message() -> None:
    world, talker = scene()
    publish(talker, correlation_id="c7", message_id="m7")
    talker.call(1, m.BasicConsume("q", "worker"))
    world.broker.now_ms += 1234
    talker.call(1, m.BasicAck(1))
    (receipt,) = take(talker, "r")
    assert (receipt.method.exchange, receipt.method.routing_key) == ("", "r")
    assert receipt.body == b""
    assert receipt.properties == Properties(
        headers={
            "x-receipt-outcome": "acked",
            "x-receipt-queue": "q",
            "x-receipt-consumer": "worker",
            "x-receipt-ms": 1234,
            "x-receipt-deliveries": 1,
        },
        correlation_id="c7",
        delivery_mode=2,
        type="mansio.receipt",
    )
    assert world.broker.counts.receipts == 1


def test_without_a_correlation_it_is_the_message_id_and_transient_stays_transient() -> None:
    _, talker = scene()
    publish(talker, message_id="m7", mode=1)
    talker.call(1, m.BasicAck(get(talker)))
    (receipt,) = take(talker, "r")
    assert receipt.properties.correlation_id == "m7"
    assert receipt.properties.delivery_mode == 1
    assert "x-receipt-consumer" not in (receipt.properties.headers or {})


@pytest.mark.parametrize(
    ("headers", "reply_to"),
    [({"x-receipt": False}, "r"), ({"x-receipt": "true"}, "r"), ({}, None), ({}, "nowhere")],
)
def test_nobody_is_told_who_does_not_ask(headers: dict[str, Any], reply_to: str | None) -> None:
    world, talker = scene()
    publish(talker, headers=headers, reply_to=reply_to)
    talker.call(1, m.BasicAck(get(talker)))
    assert world.ready("r") == world.broker.counts.receipts == 0


def test_a_consumer_group_gets_no_receipts() -> None:
    world, talker = scene()
    stream, group = {"x-queue-type": "stream"}, {"x-stream": "s", "x-stream-offset": "first"}
    talker.call(1, m.QueueDeclare("s", durable=True, arguments=stream))
    talker.call(1, m.QueueDeclare("g", durable=True, arguments=group))
    publish(talker, reply_to="g")
    talker.call(1, m.BasicAck(get(talker)))
    assert world.ready("g") == world.broker.counts.receipts == 0


def test_other_headers_beside_it_and_long_messages() -> None:
    _, talker = scene()
    publish(talker, headers={"a": 1, "nested": {"x-receipt": True}}, body=b"x" * 300_000)
    talker.call(1, m.BasicAck(get(talker)))
    assert receipts(talker) == [("acked", "q")]


def test_deliveries_are_counted() -> None:
    _, talker = scene()
    publish(talker)
    for _ in range(RETURNS_MAX + 10):
        talker.call(1, m.BasicNack(get(talker), requeue=True))
    (span,) = talker.world.broker.vhosts["/"].queues["q"].ready
    assert span.run.returns is not None and len(span.run.returns) < RETURNS_MAX
    talker.call(1, m.BasicAck(get(talker)))
    (receipt,) = take(talker, "r")
    assert (receipt.properties.headers or {})["x-receipt-deliveries"] == RETURNS_MAX + 11


def test_direct_reply_to() -> None:
    _, talker = scene()
    talker.call(1, m.BasicConsume("amq.rabbitmq.reply-to", "me", no_ack=True))
    publish(talker, reply_to="amq.rabbitmq.reply-to", correlation_id="1")
    talker.send(1, m.BasicAck(get(talker)))
    (receipt,) = settle_down(talker.world, talker)  # type: ignore[arg-type]
    assert receipt.method.consumer_tag == "me"
    assert receipt.properties.correlation_id == "1"


# -- the ends of messages


def test_a_consumer_that_does_not_acknowledge() -> None:
    world, talker = scene()
    talker.call(1, m.BasicConsume("q", "c", no_ack=True), m.BasicConsume("r", "r", no_ack=True))
    heard = publish(talker)
    delivered, receipt = (item for item in heard if isinstance(item, Message))
    assert delivered.body == b"hello"
    headers = receipt.properties.headers or {}
    assert (headers["x-receipt-outcome"], headers["x-receipt-consumer"]) == ("acked", "c")
    assert world.ready("r") == 0


def test_basic_get_without_acknowledgement() -> None:
    _, talker = scene()
    publish(talker)
    take(talker, "q")
    assert receipts(talker) == [("acked", "q")]


def test_a_rejected_message() -> None:
    _, talker = scene()
    publish(talker)
    talker.call(1, m.BasicReject(get(talker), requeue=False))
    assert receipts(talker) == [("rejected", "q")]


def test_a_dead_lettered_message_tells_of_its_copy_too() -> None:
    world, talker = scene(x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    talker.call(1, m.QueueDeclare("dead", durable=True))
    publish(talker, correlation_id="7")
    talker.call(1, m.BasicReject(get(talker), requeue=False))
    assert receipts(talker) == [("dead-lettered", "q")]
    world = world.restarted()
    talker = world.client()
    talker.call(1, m.BasicAck(get(talker, "dead")))
    (receipt,) = take(talker, "r")
    headers = receipt.properties.headers or {}
    assert (headers["x-receipt-outcome"], headers["x-receipt-queue"]) == ("acked", "dead")
    assert receipt.properties.correlation_id == "7"


def test_dead_letters_that_nobody_takes() -> None:
    _, talker = scene(x_dead_letter_exchange="nowhere")
    publish(talker)
    talker.call(1, m.BasicReject(get(talker), requeue=False))
    assert sorted(receipts(talker), key=str) == [("dead-lettered", "q"), ("unrouted", None)]


def test_a_message_that_was_given_back_too_often() -> None:
    _, talker = scene(x_queue_type="quorum", x_delivery_limit=1)
    publish(talker)
    for _ in range(2):
        talker.call(1, m.BasicReject(get(talker), requeue=True))
    (receipt,) = take(talker, "r")
    headers = receipt.properties.headers or {}
    assert (headers["x-receipt-outcome"], headers["x-receipt-deliveries"]) == ("dead-lettered", 2)


def test_an_expired_message() -> None:
    world, talker = scene()
    publish(talker, expiration="100")
    world.broker.now_ms += 100
    assert receipts(talker) == [("expired", "q")]


@pytest.mark.parametrize("overflow", ["drop-head", "reject-publish"])
def test_a_full_queue(overflow: str) -> None:
    _, talker = scene(x_max_length=1, x_overflow=overflow)
    publish(talker, message_id="1")
    publish(talker, message_id="2")
    (receipt,) = take(talker, "r")
    assert (receipt.properties.headers or {})["x-receipt-outcome"] == "dropped"
    assert receipt.properties.correlation_id == ("1" if overflow == "drop-head" else "2")


def test_a_full_queue_that_gets_the_receipts_itself() -> None:
    world, talker = scene(x_max_length=1, x_overflow="reject-publish")
    talker.call(1, m.ConfirmSelect())
    properties = Properties(headers={"x-receipt": True}, reply_to="q")
    for _ in range(3):
        talker.publish(1, "q", properties=properties)
    nacks = [m.BasicNack(2, requeue=False), m.BasicNack(3, requeue=False)]
    assert settle_down(world, talker) == [m.BasicAck(1), *nacks]
    assert world.ready("q") == 1


def test_purging_and_deleting() -> None:
    _, talker = scene()
    publish(talker)
    talker.call(1, m.QueuePurge("q"))
    assert receipts(talker) == [("dropped", "q")]
    publish(talker)
    publish(talker)
    tag = get(talker)
    talker.call(1, m.QueueDelete("q"))
    assert receipts(talker) == [("dropped", "q")] * 2, "what was in flight is gone as well"
    talker.call(1, m.BasicAck(tag))
    assert receipts(talker) == [], "and that is not told twice"


def test_a_rejected_message_that_waits_for_room_when_its_queue_is_deleted() -> None:
    world, talker = scene(x_dead_letter_exchange="amq.fanout")
    publish(talker)
    tag = get(talker)
    world.broker.journal.measured(0, True)
    talker.call(1, m.BasicReject(tag, requeue=False))
    world.broker.journal.measured(1 << 30, False)
    talker.call(1, m.QueueDelete("q"))
    assert receipts(talker) == [("dropped", "q")]


def test_a_queue_that_goes_with_its_connection() -> None:
    world, talker = scene()
    owner = world.client()
    owner.call(1, m.QueueDeclare("own", exclusive=True))
    publish(talker, "own")
    owner.send(0, m.ConnectionClose(200))
    assert receipts(talker) == [("dropped", "own")]


def test_several_queues_and_none() -> None:
    _, talker = scene()
    talker.call(1, m.QueueDeclare("p", durable=True))
    for name in ("p", "q"):
        talker.call(1, m.QueueBind(name, "amq.fanout", ""))
    publish(talker, "", exchange="amq.fanout")
    talker.call(1, m.BasicAck(get(talker, "p")))
    assert receipts(talker) == [("acked", "p")]
    talker.call(1, m.QueuePurge("q"))
    assert receipts(talker) == [("dropped", "q")]
    (returned,) = publish(talker, "nowhere", mandatory=True)
    assert returned.method.reply_code == 312
    assert receipts(talker) == [("unrouted", None)]


def test_what_an_exchange_remembers_is_no_queue_that_gives_receipts() -> None:
    world, talker = scene()
    arguments = {"x-recent-history-length": 1}
    talker.call(1, m.ExchangeDeclare("e", "x-recent-history", durable=True, arguments=arguments))
    publish(talker, "", exchange="e")
    assert receipts(talker) == [("unrouted", None)]
    talker.call(1, m.QueueBind("q", "e", ""))
    talker.call(1, m.QueuePurge("q"))
    assert receipts(talker) == [], "the copy for a new binding asks for none"
    publish(talker, "", exchange="e")
    world = world.restarted()
    talker = world.client()
    talker.call(1, m.BasicAck(get(talker)))
    publish(talker, "", exchange="e", headers={"x-receipt": False})
    assert receipts(talker) == [("acked", "q")]


def test_a_dead_letter_that_only_an_exchange_remembers_came_to_no_queue() -> None:
    _, talker = scene(x_dead_letter_exchange="e")
    talker.call(1, m.ExchangeDeclare("e", "x-recent-history"))
    publish(talker)
    talker.call(1, m.BasicReject(get(talker), requeue=False))
    assert receipts(talker) == [("unrouted", None), ("dead-lettered", "q")]


def test_what_was_remembered_asks_for_no_receipt_however_far_it_goes() -> None:
    world, talker = scene(x_dead_letter_exchange="", x_dead_letter_routing_key="once")
    once = {"x-message-deduplication": True}
    talker.call(1, m.QueueDeclare("once", durable=True, arguments=once))
    talker.call(1, m.ExchangeDeclare("e", "x-recent-history"))
    publish(talker, "", exchange="e", headers={"x-deduplication-header": "a"})
    assert receipts(talker) == [("unrouted", None)]
    talker.call(1, m.QueueBind("q", "e", ""))
    talker.call(1, m.BasicReject(get(talker), requeue=False))
    assert world.ready("once") == 1
    publish(talker, "once", headers={"x-deduplication-header": "a"})
    assert receipts(talker) == [("duplicate", "once")], "its id is held"
    talker.call(1, m.BasicAck(get(talker, "once")))
    assert receipts(talker) == []


def test_a_duplicate() -> None:
    world, talker = scene(x_message_deduplication=True)
    for _ in range(2):
        publish(talker, headers={"x-deduplication-header": "a"})
    assert receipts(talker) == [("duplicate", "q")]
    assert world.ready("q") == 1


def test_receipts_of_a_transaction_come_with_its_commit() -> None:
    _, talker = scene()
    publish(talker)
    tag = get(talker)
    talker.call(1, m.TxSelect())
    publish(talker, "nowhere")
    talker.call(1, m.BasicAck(tag))
    assert receipts(talker) == []
    talker.call(1, m.TxRollback())
    publish(talker, "nowhere")
    talker.call(1, m.BasicAck(tag))
    talker.call(1, m.TxCommit())
    assert sorted(receipts(talker), key=str) == [("acked", "q"), ("unrouted", None)]


def test_receipts_about_receipts_do_not_exist() -> None:
    """The message names its own queue for receipts."""
    world, talker = scene()
    publish(talker, reply_to="q")
    talker.call(1, m.QueuePurge("q"))
    assert world.ready("q") == 1, "its receipt"
    talker.call(1, m.QueuePurge("q"))
    assert world.ready("q") == 0
    assert world.broker.counts.receipts == 1


# -- restarts


@pytest.mark.parametrize("page_bytes", [0, 1])
def test_a_restored_message_gives_its_receipt_without_being_read(page_bytes: int) -> None:
    world, talker = scene()
    publish(talker, correlation_id="1")
    for _ in range(2):
        talker.call(1, m.BasicNack(get(talker), requeue=True))
    world = world.restarted(page_bytes=page_bytes).restarted(page_bytes=page_bytes)
    talker = world.client()
    world.broker.now_ms += 5000
    talker.call(1, m.QueuePurge("q"))
    assert not world.broker.paging.loading.wanted
    world = world.restarted()
    (receipt,) = take(world.client(), "r")
    assert receipt.properties.correlation_id == "1"
    headers = receipt.properties.headers or {}
    assert (headers["x-receipt-ms"], headers["x-receipt-deliveries"]) == (5000, 2)


def test_who_rejected_a_message_is_known_also_when_it_has_to_be_read_first() -> None:
    world, talker = scene(x_dead_letter_exchange="", x_dead_letter_routing_key="nowhere")
    publish(talker)
    talker.call(1, m.BasicConsume("q", "picky"))
    (run,) = (flight.run for flight in talker.front.session.channels[1].ledger)  # type: ignore[union-attr]
    run.home = world.broker.paging.pages(world.broker.vhosts["/"].queues["q"])
    world.broker.paging.resident_bytes -= run.data_bytes
    run.page_out()
    talker.call(1, m.BasicReject(1, requeue=False))
    assert world.ready("r") == 0
    world.load()
    world.turn()
    told = [message.properties.headers or {} for message in take(talker, "r")]
    assert {each["x-receipt-outcome"]: each.get("x-receipt-consumer") for each in told} == {
        "unrouted": None,  # the copy
        "dead-lettered": "picky",
    }


@pytest.mark.parametrize("how", ["ack", "reject", "no ack", "dead-letter"])
def test_a_receipt_and_its_settlement_are_in_one_part_of_the_log(
    how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each message goes into an entry of its own here, and the log may end behind any of them."""
    dead = {"x_dead_letter_exchange": "", "x_dead_letter_routing_key": "dead"}
    world, talker = scene(**(dead if how == "dead-letter" else {}))
    talker.call(1, m.QueueDeclare("dead", durable=True))
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    for _ in range(3):
        publish(talker)
    before = len(world.parts)
    if how == "no ack":
        talker.call(1, m.BasicConsume("q", "c", no_ack=True))
    else:
        talker.call(1, m.BasicConsume("q", "c"))
        talker.send(1, *(m.BasicAck(tag) for tag in (1, 2, 3)) if how == "ack" else ())
        rejects = [m.BasicReject(tag, requeue=False) for tag in (1, 2, 3)]
        talker.send(1, *rejects if how != "ack" else ())
        world.turn()
    assert len(world.parts) >= before + 3
    for upto in range(before, len(world.parts) + 1):
        crashed = world.restarted(upto)
        assert crashed.ready("q") + crashed.ready("r") == 3
        if how == "dead-letter":
            assert crashed.ready("dead") == crashed.ready("r")


def test_what_was_in_flight_is_told_of_in_the_part_of_the_log_with_which_its_queue_goes(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, talker = scene()
    for _ in range(4):
        publish(talker)
    for _ in range(2):
        get(talker)
    before = len(world.parts)
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    talker.call(1, m.QueueDelete("q"))
    assert world.ready("r") == 4 and len(world.parts) > before + 2
    for upto in range(before, len(world.parts) + 1):
        crashed = world.restarted(upto)
        assert max(crashed.ready("q"), 0) + crashed.ready("r") == 4


def test_a_transaction_with_receipts_and_dead_letters_is_in_one_part_of_the_log(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    world, talker = scene(x_dead_letter_exchange="", x_dead_letter_routing_key="dead")
    talker.call(1, m.QueueDeclare("dead", durable=True))
    for _ in range(2):
        publish(talker)
    first, second = get(talker), get(talker)
    monkeypatch.setattr(journal, "PART_BYTES_MAX", 1)
    before = len(world.parts)
    talker.call(1, m.TxSelect())
    for _ in range(2):
        talker.publish(1, "q", properties=Properties(delivery_mode=2))
    rejects = [m.BasicReject(tag, requeue=False) for tag in (first, second)]
    talker.call(1, *rejects, m.TxCommit())
    assert len(world.parts) == before + 1
    assert (world.ready("q"), world.ready("r"), world.ready("dead")) == (2, 2, 2)
