"""Random commands: after each of them everything that counts messages agrees."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.errors import BrokerError
from tests.core.play import Client, make_run, outcome

operations = st.lists(
    st.one_of(
        st.tuples(st.just("publish"), st.integers(0, 3), st.integers(1, 5), st.booleans()),
        st.tuples(st.just("consume"), st.integers(0, 1), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("cancel"), st.integers(0, 1), st.integers(0, 1)),
        st.tuples(st.just("get"), st.integers(0, 1), st.integers(0, 1), st.booleans()),
        st.tuples(st.just("settle"), st.integers(0, 1), st.integers(0, 9), st.booleans(), st.booleans()),
        st.tuples(st.just("tx"), st.integers(0, 1), st.sampled_from(["select_tx", "commit", "rollback"])),
        st.tuples(st.just("qos"), st.integers(0, 1), st.integers(0, 3), st.booleans()),
        st.tuples(st.just("drop"), st.integers(0, 1)),
        st.tuples(st.just("reopen"), st.integers(0, 1)),
        st.just(("end_turn",)),
        st.just(("end_turn",)),
    ),
    max_size=40,
)  # fmt: skip


def perform(broker: Broker, clients: list[Client], name: str, *how: Any) -> None:
    queues = [clients[0].declare(queue, durable=queue == "a") for queue in "ab"]
    if name == "publish":
        which, count, persistent = how
        chosen = tuple(queue for i, queue in enumerate(queues) if which >> i & 1)
        broker.publish(clients[0].channel, make_run(list(range(count)), persistent), chosen)
    elif name == "consume":
        who, what, no_ack = how
        clients[who].consume(queues[what], f"c{what}", no_ack)
    elif name == "cancel":
        broker.cancel(clients[how[0]].channel, f"c{how[1]}")
    elif name == "get":
        broker.get(clients[how[0]].channel, queues[how[1]], how[2])
    elif name == "settle":
        who, tag, multiple, requeue = how
        broker.settle(clients[who].channel, tag, tag, multiple, outcome(requeue))
    elif name == "tx":
        getattr(broker, how[1])(clients[how[0]].channel)
    elif name == "qos":
        broker.set_prefetch(clients[how[0]].channel, how[1], how[2])
    elif name == "drop":
        broker.definitions.drop_queue(queues[how[0]])
    elif name == "reopen":
        broker.close_session(clients[how[0]].session)
        clients[how[0]] = Client(broker)
    else:
        broker.end_turn()
        broker.seal(1)


@settings(max_examples=150)
@given(operations)
def test_every_count_agrees_after_every_command(script: list[tuple[Any, ...]]) -> None:
    broker = Broker()
    clients = [Client(broker), Client(broker)]
    for name, *how in script:
        try:
            perform(broker, clients, name, *how)
        except BrokerError:
            pass
        check(broker)
    for client in clients:
        broker.close_session(client.session)
    for queue in list(broker.vhosts["/"].queues.values()):
        broker.definitions.drop_queue(queue)
    assert broker.memory_bytes == 0
