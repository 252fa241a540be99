"""Single messages that fronts write themselves are published as an AMQP client's would be."""

from typing import Any

import pytest

from mansio.codec.amqp_content import content_frames
from mansio.codec.amqp_properties import Properties, decode_properties
from mansio.codec.amqp_values import Long
from mansio.core.errors import BrokerError, NotFound, PreconditionFailed
from mansio.core.marks import Marks
from mansio.core.queue import Queue
from mansio.core.rights import Permission
from mansio.core.run import Run
from mansio.core.session import Outcome
from tests.protocol.talk import Talker, World


class Posting:
    """A client that posts; queues a and b."""

    def __init__(self) -> None:
        self.world = World()
        self.client: Talker = self.world.client()
        assert self.client.front.session is not None
        self.session = self.client.front.session
        self.channel = self.session.channels[1]
        self.a, self.b = self.declare("a"), self.declare("b")

    def declare(self, name: str, **arguments: Any) -> Queue:
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        declare = self.world.broker.definitions.declare_queue
        return declare(self.session, name, True, False, False, arguments)

    def post(
        self, key: str = "a", exchange: str = "", marks: Marks | None = None, **how: Any
    ) -> Any:
        frames = content_frames(b"hello", Properties(**how), 0, 131_072)
        return self.world.broker.posting.post(self.channel, exchange, key, frames, marks)

    def headers(self, run: Run) -> Any:
        content = run.content(0)
        size = int.from_bytes(content[3:7], "big")
        return decode_properties(content, 19, 7 + size).headers


@pytest.fixture
def posting() -> Posting:
    return Posting()


def test_a_message_goes_where_its_key_says(posting: Posting) -> None:
    assert posting.post(delivery_mode=2, priority=3, expiration="5000") == (posting.a,)
    run = posting.a.ready[0].run
    assert (run.persistent, run.priority, run.expiration_ms) == (True, 3, 5000)
    assert run.marks is None


def test_copies_go_to_others_and_nobody_sees_the_blind_one(posting: Posting) -> None:
    assert posting.post("a", headers={"BCC": ["b"], "k": 1}) == (posting.a, posting.b)
    assert posting.headers(posting.b.ready[0].run) == {"k": 1}


def test_a_delayed_message_comes_later(posting: Posting) -> None:
    assert posting.post(headers={"x-delay": 1000}, delivery_mode=2) == ()
    posting.world.turn()
    assert posting.a.ready_count == 0
    posting.world.broker.now_ms += 1000
    posting.world.turn()
    assert posting.a.ready_count == 1
    assert posting.headers(posting.a.ready[0].run) == {"x-delay": -1000}


def test_a_queue_that_remembers_ids_takes_one(posting: Posting) -> None:
    queue = posting.declare("once", x_message_deduplication=True)
    for _ in range(2):
        posting.post("once", headers={"x-deduplication-header": "7"})
    assert queue.ready_count == 1


def test_ids_cost_nothing_where_nobody_asks(posting: Posting) -> None:
    posting.post(headers={"x-deduplication-header": "7"})
    assert posting.a.ready[0].run.marks is None


def test_an_exchange_that_remembers_ids_looks_at_delayed_messages(posting: Posting) -> None:
    arguments = {"x-message-deduplication": True}
    broker = posting.world.broker
    broker.definitions.declare_exchange(
        posting.session, "x", "fanout", True, False, False, arguments
    )
    broker.definitions.bind_queue(posting.session, "a", "x", "", {})
    for _ in range(2):
        posting.post("", "x", headers={"x-deduplication-header": "7", "x-delay": 10})
    broker.now_ms += 10
    posting.world.turn()
    assert posting.a.ready_count == 1


def test_a_receipt_comes_for_who_asks(posting: Posting) -> None:
    posting.post(headers={"x-receipt": True}, reply_to="b", message_id="m")
    _take(posting, Outcome.ACCEPT)
    assert posting.headers(posting.b.ready[0].run)["x-receipt-outcome"] == "acked"


@pytest.mark.parametrize(("outcome", "told"), [(Outcome.ACCEPT, 0), (Outcome.REJECT, 1)])
def test_a_quiet_one_tells_of_failures_only(posting: Posting, outcome: Outcome, told: int) -> None:
    marks = Marks(reply_to="b", correlation="9")
    marks.quiet = True
    posting.post(marks=marks)
    _take(posting, outcome)
    assert posting.b.ready_count == told


def _take(posting: Posting, outcome: Outcome) -> None:
    broker = posting.world.broker
    got = broker.get(posting.channel, posting.a, False)
    assert got is not None
    broker.settle(posting.channel, got.tag, got.tag, False, outcome)
    posting.world.turn()


@pytest.mark.parametrize(
    ("how", "error"),
    [
        ({"expiration": "soon"}, PreconditionFailed),
        ({"delivery_mode": 3}, PreconditionFailed),
        ({"user_id": "somebody"}, PreconditionFailed),
        ({"reply_to": "amq.rabbitmq.reply-to"}, PreconditionFailed),
        ({"headers": {"CC": "b"}}, PreconditionFailed),
        ({"exchange": "nowhere"}, NotFound),
    ],
)
def test_what_makes_no_sense_changes_nothing(
    posting: Posting, how: dict[str, Any], error: type[BrokerError]
) -> None:
    rights = posting.session.rights
    rights.user.tags = ()
    with pytest.raises(error):
        posting.post(**how)
    assert posting.a.ready_count == 0


def test_a_receipt_is_a_right_of_its_own(posting: Posting) -> None:
    broker = posting.world.broker
    broker.definitions.declare_exchange(posting.session, "x", "fanout", True, False, False, {})
    posting.session.rights.permit(Permission(".*", "^x$", ".*"))
    posting.post("", "x", headers={"n": Long(1)})
    with pytest.raises(BrokerError, match=r"amq\.default"):
        posting.post("", "x", headers={"x-receipt": True}, reply_to="b")
