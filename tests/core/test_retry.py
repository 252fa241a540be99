"""What consumers give back to a queue with `x-retry` comes again later, some times, at its old place."""

from decimal import Decimal
from typing import Any

import pytest

from mansio.core.broker import Broker
from mansio.core.check import check
from mansio.core.draws import Draws
from mansio.core.errors import PreconditionFailed
from mansio.core.limits import TIME_MAX_MS
from mansio.core.retry import Retry, fault
from mansio.core.session import Outcome
from mansio.protocol.amqp.letters import AmqpLetters
from tests.core.play import Client
from tests.core.test_delays import NO_BUDGET, pass_time, restarted
from tests.core.test_paging import Keeper

LIST = {"x-retry": {"delays": [100, 200]}}


def make_client() -> Client:
    broker = Broker(letters=Silent())
    broker.now_ms = 1_000_000
    return Client(broker)


class Silent(AmqpLetters):
    """Delivers messages as they are: those of these tests have no properties to write into."""

    def __init__(self) -> None:
        super().__init__(131_072)

    def counted(self, run: Any, i: int, deliveries: int) -> Any:
        return type(run)(run.message(i), 1, len(run.message(i)), None, run.routes)


@pytest.fixture
def client() -> Client:
    return make_client()


def turn(client: Client) -> list[int]:
    client.broker.end_turn()
    client.broker.grant(client.session)
    check(client.broker)
    return client.heard.take_numbers()


@pytest.mark.parametrize("outcome", [Outcome.REQUEUE, Outcome.REJECT])
def test_given_back_it_comes_again_after_the_delay(client: Client, outcome: Outcome) -> None:
    queue = client.declare(arguments=LIST)
    client.publish(queue, 1)
    client.consume(queue)
    assert turn(client) == [1]
    for attempt, delay in enumerate((100, 200)):
        client.broker.settle(client.channel, attempt + 1, attempt + 1, False, outcome)
        assert (queue.ready_count, queue.in_flight, queue.deferred.count) == (0, 0, 1)
        pass_time(client.broker, delay - 1)
        assert turn(client) == []
        pass_time(client.broker, 1)
        assert turn(client) == [1]
    assert client.heard.deliveries == []


def test_when_the_delays_are_used_up_it_is_dead_lettered(client: Client) -> None:
    letters = client.broker.letters
    written: list[str] = []
    letters.dead_letter = lambda run, i, death: (
        written.append(death.reason) or _letter(run, i, death)
    )  # type: ignore[method-assign]
    arguments = LIST | {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "failed"}
    queue, failed = client.declare(arguments=arguments), client.declare("failed")
    client.publish(queue, 1)
    client.consume(queue)
    turn(client)
    for tag, delay in enumerate((100, 200, 0)):
        client.settle(tag + 1, requeue=True)
        pass_time(client.broker, delay)
        turn(client)
    assert (written, failed.ready_count, queue.deferred.count) == (["delivery_limit"], 1, 0)


def _letter(run: Any, i: int, death: Any) -> Any:
    from mansio.core.letters import Letter

    return Letter(run.content(i), [death.new_key or death.key], {}, 0, None, [])


def test_a_closed_channel_gives_back_at_once_and_it_does_not_count(client: Client) -> None:
    queue = client.declare(arguments=LIST)
    client.publish(queue, 1)
    channel = client.broker.open_channel(client.session, 2)
    client.broker.consume(channel, queue, "c", False, False, {})
    client.broker.end_turn()
    client.broker.close_channel(channel)
    assert (queue.ready_count, queue.deferred.count, queue.ready[0].deliveries) == (1, 0, 0)
    client.broker.get(client.channel, queue, False)
    client.broker.recover(client.channel)
    assert (queue.ready_count, queue.deferred.count) == (1, 0)


def test_an_acknowledgement_timeout_counts_too(client: Client) -> None:
    queue = client.declare(arguments=LIST | {"x-consumer-timeout": 1000})
    client.publish(queue, 1)
    client.consume(queue)
    turn(client)
    client.broker.now_ms += 2000
    turn(client)
    assert (queue.ready_count, queue.in_flight, queue.deferred.count) == (0, 0, 1)
    pass_time(client.broker, 100)
    assert (queue.ready_count, queue.ready[0].deliveries) == (1, 1)


def test_it_is_ready_again_at_its_old_place(client: Client) -> None:
    queue = client.declare(arguments=LIST)
    client.publish(queue, *range(6))
    for _ in range(4):
        client.broker.get(client.channel, queue, False)
    client.broker.settle(client.channel, 2, 3, False, Outcome.REQUEUE)
    client.broker.settle(client.channel, 1, 1, False, Outcome.REJECT)
    assert queue.deferred.count == 3
    pass_time(client.broker, 100)
    ready = [span.base + i for span in queue.spans() for i in range(span.start, span.stop)]
    assert ready == [0, 1, 2, 4, 5]
    assert [span.deliveries for span in queue.spans()] == [1, 0]


def test_with_priorities_too(client: Client) -> None:
    queue = client.declare(arguments=LIST | {"x-max-priority": 3})
    run = client.publish(queue, 1, 2)
    assert run.priority == 0
    client.broker.get(client.channel, queue, False)
    client.settle(1, requeue=True)
    pass_time(client.broker, 100)
    assert queue.ready_count == 2 and queue.take_head(1).base == 0


def test_purged_and_deleted_with_what_is_deferred(client: Client) -> None:
    queue = client.declare(arguments=LIST)
    client.publish(queue, 1, 2, 3)
    client.broker.get(client.channel, queue, False)
    client.settle(1, requeue=True)
    with pytest.raises(PreconditionFailed, match="not empty"):
        client.broker.definitions.delete_queue(client.session, queue, False, True)
    assert client.broker.definitions.purge_queue(client.session, queue) == 3
    client.publish(queue, 4)
    client.broker.get(client.channel, queue, False)
    client.settle(2, requeue=True)
    assert client.broker.definitions.delete_queue(client.session, queue, False, False) == 1
    pass_time(client.broker, 1000)
    assert client.broker.memory_bytes == 0


def test_the_earlier_of_both_limits_counts(client: Client) -> None:
    queue = client.declare(
        durable=True,
        arguments={"x-queue-type": "quorum", "x-delivery-limit": 1, "x-retry": {"first": 10}},
    )
    assert queue.rules.delivery_limit == 1
    plain = client.declare(
        "p", durable=True, arguments={"x-queue-type": "quorum", "x-retry": {"first": 10}}
    )
    assert plain.rules.delivery_limit == -1, "the rule has no limit, and replaces the usual one"


def test_a_restart_neither_hurries_nor_forgets() -> None:
    keeper = Keeper(NO_BUDGET)
    keeper.broker.now_ms = 1_000_000
    client = keeper.client
    queue = client.declare(durable=True, arguments=LIST)
    client.publish(queue, 1, 2, persistent=True)
    client.broker.get(client.channel, queue, False)
    client.settle(1, requeue=True)
    keeper.turn()
    after = restarted(keeper, 1_000_050, {})
    queue = after.queue("q")
    assert (queue.ready_count, queue.deferred.count) == (1, 1)
    pass_time(after.broker, 49)
    assert queue.ready_count == 1
    pass_time(after.broker, 1)
    assert [span.deliveries for span in queue.spans()] == [1, 0]
    late = restarted(keeper, 2_000_000, {})
    assert (late.queue("q").ready_count, late.queue("q").deferred.count) == (2, 0)


def test_what_is_remembered_of_returns_is_bounded() -> None:
    client = make_client()
    queue = client.declare(durable=True, arguments={"x-retry": {"first": 1, "max": 1}})
    run = client.publish(queue, 1, 2, persistent=True)
    for _ in range(300):
        tag = client.channel.next_tag
        client.broker.get(client.channel, queue, False)
        client.settle(tag, requeue=True)
        pass_time(client.broker, 1)
    assert run.returns is not None and len(run.returns) < 100
    assert queue.ready[0].deliveries == 300


@pytest.mark.parametrize(
    ("table", "delays"),
    [
        ({"delays": [5, 0, 7]}, [5, 0, 7, None]),
        ({"first": 10}, [10, 20, 40, 80]),
        ({"first": 10, "factor": 1.5, "max": 20, "limit": 3}, [10, 15, 20, None]),
        ({"first": 3, "factor": Decimal("3"), "limit": 0}, [None]),
    ],
)
def test_delays_by_attempt(table: dict[str, Any], delays: list[int | None]) -> None:
    assert fault(table) is None
    retry = Retry(table)
    assert [retry.delay_ms(i + 1, Draws(1)) for i in range(len(delays))] == delays


def test_without_a_limit_the_delay_stays_within_bounds() -> None:
    retry = Retry({"first": 1000, "factor": 1000})
    assert retry.delay_ms(100_000, Draws(1)) == TIME_MAX_MS


def test_jitter_spreads_evenly_and_never_beyond_the_maximum() -> None:
    retry, draws = Retry({"first": 1000, "jitter": 0.2, "max": 1100}), Draws(3)
    delays = [retry.delay_ms(1, draws) or 0 for _ in range(2000)]
    assert min(delays) < 820 and max(delays) == 1100 and len(set(delays)) > 200


@pytest.mark.parametrize(
    "value",
    [
        5,
        {},
        {"delays": []},
        {"delays": 5},
        {"delays": [1, -1]},
        {"delays": [True]},
        {"delays": [1], "limit": 2},
        {"first": -1},
        {"first": "1"},
        {"first": TIME_MAX_MS + 1},
        {"first": 1, "factor": 0.5},
        {"first": 1, "factor": float("nan")},
        {"first": 1, "jitter": 2},
        {"first": 1, "jitter": None},
        {"first": 1, "limit": -1},
        {"first": 1, "limit": 1.5},
        {"first": 1, "max": None},
        {"first": 1, "unknown": 2},
    ],
)
def test_what_makes_no_sense_is_refused(client: Client, value: Any) -> None:
    with pytest.raises(
        PreconditionFailed, match="invalid arg 'x-retry' for queue 'q' in vhost '/'"
    ):
        client.declare(arguments={"x-retry": value})
