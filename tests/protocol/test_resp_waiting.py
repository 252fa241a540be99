"""Clients that wait for lists: who is served, in which order, when, and what becomes of those that go."""

import pytest

from mansio.codec import amqp_methods as m
from tests.protocol.resp_lasting import LastingRedisWorld
from tests.protocol.resp_talk import NULL_ARRAY, Error, RedisTalker, World
from tests.protocol.talk import Message, Talker


@pytest.fixture
def world() -> World:
    return World()


def consumer(world: World, queue: str, tag: str = "c", prefetch: int = 0) -> Talker:
    amqp = world.client()
    if prefetch:
        amqp.send(1, m.BasicQos(prefetch_count=prefetch))
    amqp.call(
        1, m.QueueDeclare(queue, passive=True), m.BasicConsume(queue, tag, no_ack=not prefetch)
    )
    return amqp


def bodies(talker: Talker) -> list[bytes]:
    return [item.body for _, item in talker.hear() if isinstance(item, Message)]


def waiting(world: World, *words: str | int | float) -> RedisTalker:
    client = world.redis()
    client.send(*words)
    world.turn()
    assert client.hear() == []
    return client


def test_a_push_is_answered_before_who_waited_is_served(world: World) -> None:
    waiter = waiting(world, "BRPOP", "k", 0)
    pusher = world.redis()
    assert pusher.pipeline("LPUSH k a b c", "LLEN k") == [3, 2]
    assert waiter.hear() == [[b"k", b"a"]]
    left = waiting(world, "BLPOP", "other", 0)
    assert pusher.ask("LPUSH other a b c") == 3
    assert left.hear() == [[b"other", b"c"]]


def test_who_waits_longest_is_served_first(world: World) -> None:
    waiters = [waiting(world, "BRPOP", "k", 0) for _ in range(3)]
    world.redis().ask("LPUSH k a b")
    assert [waiter.hear() for waiter in waiters] == [[[b"k", b"a"]], [[b"k", b"b"]], []]


def test_a_row_of_pushes_serves_behind_each(world: World) -> None:
    first, second = (waiting(world, "BRPOP", "k", 0) for _ in range(2))
    assert world.redis().pipeline("LPUSH k a", "LPUSH k b", "LPUSH k c", "LPUSH k d") == [
        1,
        1,
        1,
        2,
    ]
    assert [first.hear(), second.hear()] == [[[b"k", b"a"]], [[b"k", b"b"]]]


def test_the_order_of_keys_counts_for_what_is_there(world: World) -> None:
    client = world.redis()
    client.pipeline("LPUSH b x", "LPUSH a y")
    assert client.ask("BRPOP none a b 0") == [b"a", b"y"]
    waiter = waiting(world, "BRPOP", "a", "c", 0)
    client.pipeline("MULTI", "LPUSH c 1", "LPUSH a 2", "EXEC")
    assert waiter.hear() == [[b"c", b"1"]]
    assert client.ask("LLEN a") == 1


def test_a_key_is_looked_at_in_the_place_of_its_first_push(world: World) -> None:
    waiter = waiting(world, "BLMPOP", 0, 2, "a", "b", "RIGHT")
    client = world.redis()
    client.pipeline("MULTI", "RPUSH a x", "DEL a", "RPUSH b y", "RPUSH a z", "EXEC")
    assert waiter.hear() == [[b"a", [b"z"]]]
    assert client.ask("LLEN b") == 1


def test_what_is_moved_to_a_list_in_the_middle_of_a_pipeline_lies_where_it_came(
    world: World,
) -> None:
    waiter = waiting(world, "BLMOVE", "a", "b", "RIGHT", "LEFT", 0)
    client = world.redis()
    assert client.pipeline("LPUSH b 1", "LPUSH b 2", "RPUSH a x", "LPUSH b 3") == [1, 2, 1, 4]
    assert waiter.hear() == [b"x"]
    assert client.ask("LRANGE b 0 -1") == [b"3", b"x", b"2", b"1"]


def test_moves_may_serve_others_in_turn(world: World) -> None:
    last = waiting(world, "BLPOP", "c", 0)
    second = waiting(world, "BLMOVE", "b", "c", "LEFT", "RIGHT", 0)
    first = waiting(world, "BRPOPLPUSH", "a", "b", 0)
    assert world.redis().ask("RPUSH a x") == 1
    assert [each.hear() for each in (first, second, last)] == [[b"x"], [b"x"], [[b"c", b"x"]]]
    assert world.redis().pipeline("LLEN a", "LLEN b", "LLEN c") == [0, 0, 0]


def test_several_elements_at_once(world: World) -> None:
    waiter = waiting(world, "BLMPOP", 0, 2, "a", "b", "LEFT", "COUNT", 2)
    assert world.redis().ask("RPUSH b 1 2 3") == 3
    assert waiter.hear() == [[b"b", [b"1", b"2"]]]


def test_time_outs(world: World) -> None:
    late = [
        waiting(world, "BLPOP", "k", 0.5),
        waiting(world, "BLMOVE", "k", "x", "LEFT", "LEFT", 0.25),
    ]
    world.pass_ms(249)
    assert [each.hear() for each in late] == [[], []]
    world.pass_ms(1)
    assert [each.hear() for each in late] == [[], [NULL_ARRAY]]
    world.pass_ms(250)
    assert late[0].hear() == [NULL_ARRAY]
    assert world.redis().ask("LPUSH k x") == 1
    assert late[0].call("BLPOP", "k", 0) == [b"k", b"x"]


def test_what_came_meanwhile_is_executed_behind(world: World) -> None:
    waiter = waiting(world, "BLPOP", "k", 0)
    waiter.send("PING")
    world.turn()
    assert waiter.hear() == []
    world.redis().ask("RPUSH k x")
    assert waiter.hear() == [[b"k", b"x"], "PONG"]


def test_a_client_that_goes_takes_nothing_along(world: World) -> None:
    gone, stays = waiting(world, "BLPOP", "k", 0), waiting(world, "BLPOP", "k", 0)
    gone.eof()
    world.redis().ask("RPUSH k x")
    assert stays.hear() == [[b"k", b"x"]]


def test_client_unblock(world: World) -> None:
    waiter = waiting(world, "BLPOP", "k", 0)
    number = waiter.front.id
    admin = world.redis()
    assert admin.call("CLIENT", "UNBLOCK", number, "ERROR") == 1
    (error,) = waiter.hear()
    assert isinstance(error, Error) and error.startswith("UNBLOCKED")
    assert admin.call("CLIENT", "UNBLOCK", number) == 0
    admin.ask("RPUSH k x")
    assert admin.ask("LLEN k") == 1


def test_in_a_transaction_nobody_waits(world: World) -> None:
    client = world.redis()
    replies = client.pipeline(
        "MULTI", "BLPOP k 0", "BLMOVE k x LEFT LEFT 0", "RPUSH k a", "BLPOP k 0", "EXEC"
    )
    assert replies[-1] == [NULL_ARRAY, None, 1, [b"k", b"a"]]


def test_the_wrong_kind(world: World) -> None:
    client = world.redis()
    client.ask("SET s x")
    assert client.ask("BLPOP none s 0").startswith("WRONGTYPE")
    waiter = waiting(world, "BLMOVE", "k", "s", "LEFT", "LEFT", 0)
    assert client.ask("RPUSH k a") == 1
    assert waiter.hear()[0].startswith("WRONGTYPE")
    assert client.ask("LRANGE k 0 -1") == [b"a"]
    waiter = waiting(world, "BLPOP", "later", 0)
    client.ask("SET later x")
    assert waiter.hear() == []
    client.pipeline("DEL later", "RPUSH later y")
    assert waiter.hear() == [[b"later", b"y"]]


# -- with AMQP


def test_an_amqp_client_publishes_to_who_waits(world: World) -> None:
    waiter = waiting(world, "BRPOP", "k", 0)
    amqp = world.client()
    amqp.publish(1, "k", b"from amqp")
    world.turn()
    assert waiter.hear() == [[b"k", b"from amqp"]]
    assert world.redis().pipeline("EXISTS k", "TYPE k") == [0, "none"]


def test_what_is_given_back_serves_who_waits(world: World) -> None:
    world.redis().ask("LPUSH k x")
    amqp = world.client()
    (got,) = amqp.call(1, m.BasicGet("k"))
    waiter = waiting(world, "BRPOP", "k", 0)
    amqp.call(1, m.BasicNack(got.method.delivery_tag, requeue=True))
    assert waiter.hear() == [[b"k", b"x"]]


def test_consumers_and_waiters_take_turns(world: World) -> None:
    waiter = waiting(world, "BRPOP", "k", 0)
    amqp = consumer(world, "k")
    amqp.hear()
    pusher = world.redis()
    got: list[str] = []
    for i in range(8):
        pusher.call("LPUSH", "k", i)
        if waiter.hear():
            got.append("waiter")
            waiter.send("BRPOP", "k", 0)
            world.turn()
        if bodies(amqp):
            got.append("consumer")
    assert got == ["consumer", "waiter"] * 4


def test_a_burst_is_shared(world: World) -> None:
    waiters = [waiting(world, "BRPOP", "k", 0) for _ in range(2)]
    amqp = consumer(world, "k", prefetch=3)
    amqp.hear()
    world.redis().ask("LPUSH k 1 2 3 4 5 6")
    assert all(waiter.hear() for waiter in waiters)
    assert len(bodies(amqp)) == 3
    assert world.redis().ask("LLEN k") == 1


def test_a_queue_that_is_deleted_does_not_lose_who_waits(world: World) -> None:
    waiter = waiting(world, "BRPOP", "k", 0)
    amqp = world.client()
    amqp.call(1, m.QueueDelete("k"))
    amqp.call(1, m.QueueDeclare("k", durable=False))
    amqp.publish(1, "k", b"x")
    world.turn()
    assert waiter.hear() == [[b"k", b"x"]]


# -- the log


def test_a_reply_waits_until_what_it_takes_is_gone_for_good() -> None:
    world = LastingRedisWorld()
    waiter = waiting(world, "BRPOP", "k", 0)
    world.redis().send("LPUSH", "k", "x")
    world.turn(durable=False)
    assert waiter.hear() == []
    world.log()
    assert waiter.hear() == [[b"k", b"x"]]
    assert world.restarted().redis().ask("LLEN k") == 0


@pytest.mark.parametrize("command", ["BRPOP k 0", "BLPOP k 0", "BLMPOP 0 1 k LEFT COUNT 2"])
@pytest.mark.parametrize("there", [True, False])
def test_what_has_not_left_goes_back(command: str, there: bool) -> None:
    world = LastingRedisWorld()
    pusher = world.redis()
    client = world.redis()
    if there:
        pusher.ask("RPUSH k 1 2 3")
    client.send(*command.split())
    world.turn()
    if not there:
        pusher.ask("RPUSH k 1 2 3")
    assert pusher.ask("LLEN k") < 3
    client.front.receive_eof()
    world.turn()
    assert pusher.ask("LRANGE k 0 -1") == [b"1", b"2", b"3"]
    assert world.restarted().redis().ask("LRANGE k 0 -1") == [b"1", b"2", b"3"]


def test_what_has_left_does_not() -> None:
    world = LastingRedisWorld()
    client = world.redis()
    client.ask("RPUSH k 1 2")
    assert client.ask("BLPOP k 0") == [b"k", b"1"]
    client.front.flushed()
    client.eof()
    world.turn()
    assert world.redis().ask("LRANGE k 0 -1") == [b"2"]


# -- lists that nobody has declared


def ready(world: World, name: str) -> int:
    queue = world.broker.vhosts["/"].queues.get(name)
    return -1 if queue is None else queue.ready_count


def test_a_list_goes_a_while_after_it_is_empty(world: World) -> None:
    client = world.redis()
    client.pipeline("RPUSH k a", "LPOP k")
    world.pass_ms(10_000)
    assert ready(world, "k") == 0
    world.pass_ms(10_000)
    assert ready(world, "k") == -1


def test_it_stays_while_it_is_used(world: World) -> None:
    waiting(world, "BLPOP", "waited", 0)
    world.redis().ask("RPUSH full a")
    for _ in range(5):
        world.pass_ms(10_000)
    assert (ready(world, "waited"), ready(world, "full")) == (0, 1)


def test_a_declaration_makes_it_stay() -> None:
    world = LastingRedisWorld()
    client = world.redis()
    client.pipeline("RPUSH k a b", "RPUSH other x")
    amqp = world.client()
    (ok,) = amqp.call(1, m.QueueDeclare("k", durable=True))
    assert (ok.message_count, ok.queue) == (2, "k")
    client.pipeline("LPOP k 2", "LPOP other")
    world = world.restarted()
    for _ in range(3):
        world.pass_ms(10_000)
    assert (ready(world, "k"), ready(world, "other")) == (0, -1)
    client = world.redis()
    client.ask("RPUSH k 1 2")  # it still begins on the left
    (got,) = world.client().call(1, m.BasicGet("k"))
    assert got.body == b"1"


def test_a_vacant_one_is_declared_as_asked_for(world: World) -> None:
    waiter = waiting(world, "BRPOP", "k", 0)
    amqp = world.client()
    (ok,) = amqp.call(1, m.QueueDeclare("k", durable=True, arguments={"x-max-length": 1}))
    assert isinstance(ok, m.QueueDeclareOk)
    world.redis().ask("LPUSH k x")
    assert waiter.hear() == [[b"k", b"x"]]
    world.redis().ask("LPUSH used x")
    (close,) = amqp.call(1, m.QueueDeclare("used", durable=True, arguments={"x-max-length": 1}))
    assert isinstance(close, m.ChannelClose) and close.reply_code == 406


def test_del_keeps_what_was_declared(world: World) -> None:
    amqp = world.client()
    amqp.call(1, m.QueueDeclare("k", durable=True))
    client = world.redis()
    assert client.pipeline("RPUSH k a", "DEL k", "EXISTS k", "DEL k") == [1, 1, 0, 0]
    assert ready(world, "k") == 0


def test_x_head(world: World) -> None:
    amqp = world.client()
    amqp.call(1, m.QueueDeclare("k", durable=True, arguments={"x-head": "left"}))
    client = world.redis()
    client.ask("RPUSH k 1 2")
    amqp.publish(1, "k", b"3")
    world.turn()
    assert client.ask("LRANGE k 0 -1") == [b"1", b"2", b"3"]
    (got,) = amqp.call(1, m.BasicGet("k"))
    assert got.body == b"1"
    (close,) = amqp.call(1, m.QueueDeclare("j", arguments={"x-head": "top"}))
    assert close.reply_code == 406


def test_full_queues_refuse_or_drop(world: World) -> None:
    amqp = world.client()
    refuses = {"x-max-length": 2, "x-overflow": "reject-publish"}
    amqp.call(1, m.QueueDeclare("r", durable=True, arguments=refuses))
    amqp.call(1, m.QueueDeclare("d", durable=True, arguments={"x-max-length": 2}))
    client = world.redis()
    replies = client.pipeline(
        "LPUSH r 1 2", "LPUSH r 3", "LLEN r", "LPUSH d 1 2 3", "LRANGE d 0 -1"
    )
    assert isinstance(replies[1], Error) and "full" in replies[1]
    assert replies[2:] == [2, 2, [b"3", b"2"]]


def test_a_declared_stream_takes_what_is_pushed(world: World) -> None:
    amqp = world.client()
    amqp.call(1, m.QueueDeclare("s", durable=True, arguments={"x-queue-type": "stream"}))
    client = world.redis()
    assert client.pipeline("LPUSH s a", "RPUSH s b c") == [1, 3]
    assert client.ask("LRANGE s 0 -1").startswith("WRONGTYPE")
