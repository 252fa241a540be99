"""Messages that a queue would hand to its dead-letter exchange wait while the log has no room for another copy."""

from mansio.core.broker import Broker
from mansio.core.letters import Death, Letter
from mansio.core.run import Run
from mansio.core.session import Outcome
from tests.core.play import Client


class Letters:
    """Writes nothing new."""

    frame_max = 131_072

    def dead_letter(self, run: Run, i: int, death: Death) -> Letter:
        return Letter(run.message(i), [death.new_key or death.key], {}, 0, None, [])

    def counted(self, run: Run, i: int, deliveries: int) -> Run:
        raise AssertionError


def make() -> tuple[Client, Broker]:
    broker = Broker(letters=Letters())
    return Client(broker), broker


ARGUMENTS = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


def test_rejected_messages_wait_for_room_in_flight() -> None:
    client, broker = make()
    dead = client.declare("dead", durable=True)
    queue = client.declare("q", durable=True, arguments=ARGUMENTS)
    client.publish(queue, 1, 2, persistent=True)
    consumer = client.consume(queue)
    broker.end_turn()
    broker.journal.measured(0, True)
    broker.settle(client.channel, 1, 2, False, Outcome.REJECT)
    broker.end_turn()
    assert (dead.ready_count, queue.in_flight, consumer.unsettled) == (0, 2, 0)
    broker.now_ms += 1000
    broker.end_turn()
    assert (dead.ready_count, queue.in_flight) == (0, 2), "there is no room yet"
    broker.journal.measured(1 << 30, False)
    broker.now_ms += 1000
    broker.end_turn()
    assert (dead.ready_count, queue.in_flight) == (2, 0)


def test_the_expired_head_waits_for_room_and_nobody_gets_it() -> None:
    client, broker = make()
    dead = client.declare("dead", durable=True)
    queue = client.declare("q", durable=True, arguments=ARGUMENTS | {"x-message-ttl": 100})
    client.publish(queue, 1, persistent=True)
    broker.end_turn()
    broker.journal.measured(0, True)
    broker.now_ms += 1000
    client.consume(queue)
    broker.end_turn()
    assert (dead.ready_count, queue.ready_count, client.heard.deliveries) == (0, 1, [])
    broker.journal.measured(1 << 30, False)
    broker.now_ms += 1000
    broker.end_turn()
    assert (dead.ready_count, queue.ready_count, client.heard.deliveries) == (1, 0, [])
