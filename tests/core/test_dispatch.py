"""Dispatching in slices against a reference that hands out one message at a time."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.dispatch import Consumer
from mansio.core.limits import TURN_BYTES
from mansio.core.run import Run
from tests.core.play import SIZE, Client, make_run, outcome


@dataclass
class Want:
    """A consumer of the reference."""

    tag: str
    channel: int
    no_ack: bool
    limit: int
    unsettled: int = 0


Crew = tuple[list[Want], dict[int, int]]


class Reference:
    """Every message goes to the next consumer in turn that has credit."""

    def __init__(self, wants: list[Want], limits: dict[int, int]) -> None:
        self.wants = wants
        self.limits = limits
        self.turn = 0
        self.waiting: list[int] = []
        self.open: dict[int, list[Want]] = {number: [] for number in limits}  # in order of tags

    def has_room(self, want: Want) -> bool:
        limit = self.limits[want.channel]
        if want.no_ack:
            return True
        if want.limit and want.unsettled >= want.limit:
            return False
        return not limit or len(self.open[want.channel]) < limit

    def give(self) -> list[tuple[str, int]]:
        """(consumer tag, message) of what is delivered now."""
        given: list[tuple[str, int]] = []
        while self.waiting:
            for k in range(len(self.wants)):
                want = self.wants[(self.turn + k) % len(self.wants)]
                if self.has_room(want):
                    break
            else:
                return given
            self.turn += k + 1
            given.append((want.tag, self.waiting.pop(0)))
            if not want.no_ack:
                want.unsettled += 1
                self.open[want.channel].append(want)
        return given

    def settle_all(self, channel: int) -> None:
        for want in self.open[channel]:
            want.unsettled -= 1
        self.open[channel].clear()


@st.composite
def crews(draw: st.DrawFn) -> Crew:
    limits = {number: draw(st.sampled_from([0, 0, 0, 1, 5])) for number in (1, 2, 3)}
    wants = [
        Want(f"c{i}", draw(st.integers(1, 3)), draw(st.booleans()), draw(st.sampled_from([0, 1, 3, 10])))
        for i in range(draw(st.integers(1, 5)))
    ]  # fmt: skip
    return wants, limits


def set_up(crew: Crew) -> tuple[Broker, Client]:
    wants, limits = crew
    broker = Broker()
    client = Client(broker)
    for number in (2, 3):
        broker.open_channel(client.session, number)
    queue = client.declare()
    for want in wants:
        channel = client.session.channels[want.channel]
        broker.set_prefetch(channel, want.limit, whole_channel=False)
        broker.consume(channel, queue, want.tag, want.no_ack, False, {})
    for number, limit in limits.items():
        broker.set_prefetch(client.session.channels[number], limit, whole_channel=True)
    return broker, client


batches = st.lists(
    st.tuples(st.lists(st.integers(1, 12), max_size=3), st.integers(1, 3)), max_size=6
)


@settings(max_examples=300)
@given(crews(), batches)
def test_slices_are_a_round_robin_message_by_message(
    crew: Crew, batches: list[tuple[list[int], int]]
) -> None:
    """Each batch: runs of these lengths arrive, then one channel acknowledges all that it has."""
    broker, client = set_up(crew)
    reference = Reference(*crew)
    queue = broker.vhosts["/"].queues["q"]
    published = 0
    for runs, number in batches:
        for count in runs:
            client.publish(queue, *range(published, published + count))
            reference.waiting += range(published, published + count)
            published += count
        broker.end_turn()
        check(broker)
        expected = reference.give()
        got = [(delivery[0], delivery[2]) for delivery in client.heard.deliveries]
        client.heard.deliveries.clear()
        # Between consumers no order is promised, so that each may get its share as one slice.
        assert sorted(got) == sorted(expected)
        for tag in {tag for tag, _ in expected}:
            assert [at for who, at in got if who == tag] == [
                at for who, at in expected if who == tag
            ]
        assert queue.ready_count == len(reference.waiting)
        broker.settle(client.session.channels[number], 0, 0, True, outcome(False))
        reference.settle_all(number)


@settings(max_examples=100)
@given(crews(), st.lists(st.integers(1, 30), max_size=6))
def test_credit_that_comes_back_is_used(crew: Crew, acks: list[int]) -> None:
    """After any acknowledgement nobody with room waits while messages are ready."""
    broker, client = set_up(crew)
    queue = client.broker.vhosts["/"].queues["q"]
    client.publish(queue, *range(20))
    broker.end_turn()
    for tag in acks:
        for channel in client.session.channels.values():
            if channel.ledger.knows(tag):
                broker.settle(channel, tag, tag, False, outcome(False))
        broker.end_turn()
        check(broker)
        if queue.ready_count:
            assert all(consumer.room(SIZE) <= 0 for consumer in queue.consumers)


def test_the_turn_goes_on_where_it_stopped() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    for tag in "abc":
        client.consume(queue, tag)
    got = []
    for number in range(7):
        client.publish(queue, number)
        broker.end_turn()
        got += [delivery[0] for delivery in client.heard.deliveries]
        client.heard.deliveries.clear()
    assert got == list("abcabca")
    broker.cancel(client.channel, "a")
    client.publish(queue, 7, 8)
    broker.end_turn()
    assert [delivery[0] for delivery in client.heard.deliveries] == ["b", "c"]


def test_a_channel_gets_messages_and_tags_in_order_whichever_consumer_they_are_for() -> None:
    client = Client(Broker())
    queue = client.declare()
    for tag in "ab":
        client.consume(queue, tag)
    client.publish(queue, *range(10))
    client.broker.end_turn()
    assert [delivery[1] for delivery in client.heard.deliveries] == list(range(1, 11))
    assert client.heard.take_numbers() == list(range(10))


def test_a_session_that_does_not_read_gets_nothing_and_others_all() -> None:
    broker = Broker()
    deaf, other = Client(broker, "deaf"), Client(broker, "other")
    queue = other.declare()
    deaf.consume(queue, "deaf")
    other.consume(queue, "other")
    broker.set_writable(deaf.session, False)
    other.publish(queue, *range(10))
    broker.end_turn()
    assert (deaf.heard.deliveries, other.heard.take_numbers()) == ([], list(range(10)))
    broker.cancel(other.channel, "other")
    other.publish(queue, 10, 11)
    broker.end_turn()
    broker.set_writable(deaf.session, True)
    broker.end_turn()
    assert deaf.heard.take_numbers() == [10, 11]
    check(broker)


@pytest.mark.parametrize("consumers", [1, 2, 50])
@pytest.mark.parametrize("size", [1000, 100_000, 2 * TURN_BYTES])
def test_a_session_gets_its_allowance_a_turn_and_at_most_one_message_more(
    consumers: int, size: int
) -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    for i in range(consumers):
        channel = broker.open_channel(client.session, 2 + i)
        broker.consume(channel, queue, f"c{i}", False, False, {})
    count = 3 * max(TURN_BYTES // size, 1) + consumers
    run: Run = make_run(list(range(count)), size=size)
    broker.publish(client.channel, run, (queue,))
    got: list[int] = []
    while len(got) < count:
        client.heard.bytes = 0
        broker.end_turn()
        assert 0 < client.heard.bytes < TURN_BYTES + size
        got += client.heard.take_numbers()
        assert client.session.starved or not queue.ready_count
        broker.grant(client.session)
    assert sorted(got) == list(range(count))
    check(broker)


def test_a_paused_channel_is_passed_over() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    consumer: Consumer = client.consume(queue)
    broker.set_active(client.channel, False)
    client.publish(queue, 1)
    broker.end_turn()
    assert (client.heard.deliveries, consumer.room(SIZE)) == ([], 0)
    broker.set_active(client.channel, True)
    broker.end_turn()
    assert client.heard.take_numbers() == [1]


def test_prefetch_counts_what_is_unsettled() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    broker.set_prefetch(client.channel, 2, whole_channel=False)
    client.consume(queue)
    client.publish(queue, *range(6))
    for expected in ([0, 1], [], [2], [3, 4]):
        broker.end_turn()
        assert client.heard.take_numbers() == expected
        if not expected:
            client.settle(1)
        elif expected == [2]:
            client.settle_until(3)
    assert queue.ready_count == 1


def test_a_change_of_the_channels_prefetch_works_at_once() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    broker.set_prefetch(client.channel, 1, whole_channel=True)
    client.consume(queue)
    client.publish(queue, *range(6))
    broker.end_turn()
    broker.set_prefetch(client.channel, 4, whole_channel=True)
    broker.end_turn()
    assert client.heard.take_numbers() == [0, 1, 2, 3]
    broker.set_prefetch(client.channel, 0, whole_channel=True)
    broker.end_turn()
    assert client.heard.take_numbers() == [4, 5]


def test_a_prefetch_for_consumers_to_come_lifts_the_one_of_the_channel() -> None:
    broker = Broker()
    client = Client(broker)
    queue = client.declare()
    broker.set_prefetch(client.channel, 1, whole_channel=True)
    client.consume(queue)
    client.publish(queue, *range(3))
    broker.end_turn()
    broker.set_prefetch(client.channel, 2, whole_channel=False)
    broker.end_turn()
    assert client.heard.take_numbers() == [0, 1, 2], "consumers that are there have no limit"
