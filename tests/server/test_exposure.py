"""What the broker says when other machines can reach it."""

import pytest

from mansio.core.users import DEFAULT_USER, Users
from mansio.server.exposure import warnings
from tests.conftest import BrokerStarter

GUEST_LOCAL = frozenset([DEFAULT_USER])
LOCAL = ["127.0.0.1:5672", "[::1]:5672", "127.1.2.3:5672"]


def without_guest() -> Users:
    users = Users()
    users.remove(DEFAULT_USER)
    return users


def test_on_this_machine_alone_there_is_nothing_to_say() -> None:
    assert warnings(LOCAL, LOCAL, Users(), frozenset()) == []


@pytest.mark.parametrize("address", ["0.0.0.0:5672", "[::]:5672", "10.0.0.1:5672", "[fe80::1]:1"])
def test_others_can_reach_it(address: str) -> None:
    plain, user = warnings([*LOCAL, address], [], Users(), GUEST_LOCAL)
    assert plain.startswith(f"{address} can be reached from other machines WITHOUT TLS")
    for option in ("--tls-port", "--tls-cert", "--tls-key", "--tls-only", "--bind 127.0.0.1"):
        assert option in plain
    assert "'guest' has the password that everybody knows" in user
    assert "`mansio user add NAME`" in user and "`mansio user delete guest`" in user
    assert "ANYBODY" not in user
    assert warnings([address], [], without_guest(), GUEST_LOCAL) == [plain]


def test_with_tls_only_the_default_user_is_worth_a_word() -> None:
    (user,) = warnings(LOCAL, ["0.0.0.0:5671"], Users(), GUEST_LOCAL)
    assert user.startswith("0.0.0.0:5671 ") and "guest" in user
    assert warnings(LOCAL, ["0.0.0.0:5671"], without_guest(), GUEST_LOCAL) == []


def test_a_default_user_for_all_machines_is_said_loudly() -> None:
    (user,) = warnings([], ["0.0.0.0:5671"], Users(), frozenset())
    assert "ANYBODY CAN LOG IN, since he is not one of loopback_users" in user


def test_a_password_of_his_own_makes_the_default_user_like_any_other() -> None:
    users = Users()
    users.get(DEFAULT_USER).password_hash = "another"
    assert warnings([], ["0.0.0.0:5671"], users, frozenset()) == []


def test_nothing_is_said_at_the_start_of_a_broker_on_loopback(start_broker: BrokerStarter) -> None:
    broker = start_broker("--in-memory")
    broker.wait_for_log("Ctrl-C")
    assert "can be reached" not in broker.log_text()


def test_redis_clients_get_words_of_their_own() -> None:
    amqp, redis = "0.0.0.0:5672", "0.0.0.0:6379"
    users = without_guest()
    assert warnings(LOCAL, LOCAL, users, GUEST_LOCAL, LOCAL, "guest") == []
    plain, other = warnings([amqp, redis], [], users, GUEST_LOCAL, [redis], "guest")
    assert plain.startswith(f"{amqp} can be reached") and "--tls-port" in plain
    assert other.startswith(f"{redis} can be reached") and "WITHOUT TLS" in other
    assert "--redis-tls-port" in other and 'redis_bind = "127.0.0.1"' in other


def test_who_needs_no_password_is_said_also_with_tls() -> None:
    redis = "0.0.0.0:6380"
    asked, user = warnings([], [redis], Users(), GUEST_LOCAL, [redis], "guest")
    assert asked.startswith(f"{redis} can be reached") and "the user 'guest'" in asked
    assert 'redis_user = "none"' in asked and "password that everybody knows" in user
    assert warnings([], [redis], Users(), GUEST_LOCAL, [redis], "") == [user]


def test_zeromq_sockets_have_no_tls_and_are_told_so() -> None:
    zmq = "0.0.0.0:5555"
    users = without_guest()
    assert warnings(LOCAL, [], users, GUEST_LOCAL, [], "", LOCAL, "guest") == []
    (clear,) = warnings([zmq], [], users, GUEST_LOCAL, [], "guest", [zmq], "guest")
    assert clear.startswith(f"{zmq} can be reached") and "WITHOUT ENCRYPTION" in clear
    assert 'zmq_bind = "127.0.0.1"' in clear
    _, asked, user = warnings([zmq], [], Users(), GUEST_LOCAL, [], "", [zmq], "guest")
    assert asked.startswith(f"{zmq} can be reached") and "the user 'guest'" in asked
    assert 'zmq_user = "none"' in asked and "password that everybody knows" in user
    assert len(warnings([zmq], [], Users(), GUEST_LOCAL, [], "guest", [zmq], "")) == 2
