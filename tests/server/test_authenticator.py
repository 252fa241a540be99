"""Logins beside the event loop: right, wrong, shared, held back, and hashes that are made anew."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from mansio.admin import passwords
from mansio.admin.passwords import ARGON2ID, hash_password
from mansio.core.broker import Broker
from mansio.core.limits import NS
from mansio.core.rights import EVERYTHING
from mansio.protocol.base import Credentials, Peer, Verdict
from mansio.server import authenticator as module
from mansio.server.authenticator import LoginAuthenticator
from mansio.server.back_off import FREE, FREE_BY_ADDRESS, LONGEST_NS, WAITING_MAX, BackOff
from mansio.server.hashing import Answer, Job, work
from mansio.server.tasks import Tasks
from tests.admin.test_passwords import rabbitmq
from tests.server.stage import StageClock

HERE = Peer("127.0.0.1:1 -> 127.0.0.1:5672", True, "127.0.0.1")
AWAY = Peer("10.0.0.1:1 -> 10.0.0.2:5672", False, "10.0.0.1")


class HasherInPlace:
    """Hashes at once, in a later pass of the loop; costs nothing, so that nobody has to rest behind it."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.able = True
        self.cost_ns = 0
        self.closed = False

    async def check(self, job: Job) -> Answer | None:
        self.jobs.append(job)
        await asyncio.sleep(0)
        return work(job, lambda: 0)._replace(cost_ns=self.cost_ns) if self.able else None

    def close(self) -> None:
        self.closed = True


class Desk:
    """An authenticator, its broker, and what it answered."""

    def __init__(self) -> None:
        self.broker = Broker()
        self.clock = StageClock()
        self.failed: list[Any] = []
        self.tasks = Tasks(lambda name, error: self.failed.append(error))
        self.hasher = HasherInPlace()
        self.door = LoginAuthenticator(
            self.broker, self.clock, self.tasks, frozenset(("guest",)), self.hasher
        )

    @property
    def checks(self) -> int:
        return len(self.hasher.jobs)

    def user(self, name: str, known: str, hashing: str) -> None:
        self.broker.administration.put_user(name, known, hashing)
        self.broker.administration.permit(name, "/", EVERYTHING)

    def begin(self, user: str, password: str | None, peer: Peer = HERE) -> asyncio.Future[Verdict]:
        answer: asyncio.Future[Verdict] = asyncio.get_running_loop().create_future()
        self.door.begin(Credentials(user, password, "PLAIN"), peer, answer.set_result)
        assert not answer.done(), "an answer must not come before begin returns"
        return answer


def play(scene: Callable[[Desk], Awaitable[None]]) -> Desk:
    desk: list[Desk] = []

    async def main() -> None:
        desk.append(Desk())
        try:
            await scene(desk[0])
        finally:
            await desk[0].tasks.cancel_all()
            desk[0].door.close()

    asyncio.run(main())
    assert not desk[0].failed
    assert desk[0].hasher.closed
    return desk[0]


def test_right_and_wrong() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        assert await desk.begin("ann", "secret") == Verdict("ann")
        wrong = await desk.begin("ann", "Secret")
        nobody = await desk.begin("bob", "secret")
        assert wrong == Verdict(None, "user 'ann' - invalid credentials")
        assert nobody == Verdict(None, "user 'bob' - invalid credentials")
        assert "blank password" in (await desk.begin("ann", "")).reason
        assert (desk.broker.counts.logins, desk.broker.counts.logins_refused) == (1, 3)

    play(scene)


def test_who_was_right_is_not_checked_again_until_the_password_changes() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        for _ in range(3):
            assert (await desk.begin("ann", "secret")).user == "ann"
        assert desk.checks == 1
        desk.broker.administration.set_password("ann", *hash_password("new"))
        assert (await desk.begin("ann", "secret")).user is None
        assert (await desk.begin("ann", "new")).user == "ann"
        desk.broker.administration.delete_user("ann")
        assert (await desk.begin("ann", "new")).user is None

    play(scene)


def test_many_who_ask_the_same_are_checked_once() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        answers = [desk.begin("ann", "secret") for _ in range(50)]
        assert {(await answer).user for answer in answers} == {"ann"}
        assert desk.checks == 1

    play(scene)


def test_more_than_can_be_checked_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(desk: Desk) -> None:
        monkeypatch.setattr(module, "CHECKS_MAX", 2)
        monkeypatch.setattr(module, "SHARED_MAX", 2)
        answers = [desk.begin(f"user{i}", "x") for i in range(3)]
        answers += [desk.begin("user0", "x"), desk.begin("user0", "x")]
        reasons = [(await answer).reason for answer in answers]
        assert [reason.startswith("too many logins") for reason in reasons] == [
            False, False, True, False, True,
        ]  # fmt: skip

    play(scene)


def test_a_user_who_is_deleted_while_his_password_is_checked() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        answer = desk.begin("ann", "secret")
        await asyncio.sleep(0)
        desk.broker.administration.delete_user("ann")
        assert (await answer).user is None

    play(scene)


def test_hashes_of_rabbitmq_are_made_anew() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", rabbitmq("secret"), "rabbit_password_hashing_sha256")
        assert (await desk.begin("ann", "secret")).user == "ann"
        user = desk.broker.users.get("ann")
        while len(desk.tasks):
            await asyncio.sleep(0)
        assert user.hashing == ARGON2ID
        assert passwords.check_password(user.password_hash, user.hashing, "secret").right
        checks = desk.checks
        assert (await desk.begin("ann", "secret")).user == "ann"
        assert desk.checks == checks  # it is known to be right for the new hash, too

    play(scene)


def test_the_hash_that_is_made_anew_belongs_to_the_user_who_logged_in() -> None:
    async def scene(desk: Desk) -> None:
        old = rabbitmq("secret"), "rabbit_password_hashing_sha256"
        desk.user("ann", *old)
        answer = desk.begin("ann", "secret")
        await asyncio.sleep(0)
        desk.broker.administration.set_password("ann", rabbitmq("new"), old[1])
        assert (await answer).user is None
        assert desk.broker.users.get("ann").hashing == old[1]

    play(scene)


def test_what_cannot_be_checked_is_refused_and_no_failure_of_the_user() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        desk.hasher.able = False
        for _ in range(FREE):
            refused = await desk.begin("ann", "secret")
            assert refused == Verdict(None, "the password could not be checked", passing=True)
        assert (await desk.begin("nobody", "secret")).reason == refused.reason
        desk.hasher.able = True
        assert (await desk.begin("ann", "secret")).user == "ann"

    play(scene)


def test_behind_a_wrong_password_there_is_a_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    rests: list[float] = []
    sleep = asyncio.sleep

    async def noted(seconds: float) -> None:
        if seconds:
            rests.append(seconds)
        await sleep(0)

    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        desk.hasher.cost_ns = NS
        monkeypatch.setattr(asyncio, "sleep", noted)
        assert (await desk.begin("ann", "secret")).user == "ann"
        assert not rests
        assert (await desk.begin("ann", "wrong")).user is None
        assert rests == [module.PAUSES]

    play(scene)


def test_unknown_users_and_wrong_passwords_are_the_same_work() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        desk.user("old", rabbitmq("secret"), "rabbit_password_hashing_sha256")
        for user in ("ann", "old", "nobody"):
            assert (await desk.begin(user, "wrong", AWAY)).user is None
        assert [job.password for job in desk.hasher.jobs] == ["wrong"] * 3
        assert [work(job, lambda: 0) for job in desk.hasher.jobs] == [Answer(False)] * 3

    play(scene)


def test_the_default_user_is_left_as_he_is() -> None:
    async def scene(desk: Desk) -> None:
        assert (await desk.begin("guest", "guest")).user == "guest"
        assert desk.broker.users.implied
        assert not desk.hasher.jobs[0].renew
        away = await desk.begin("guest", "guest", AWAY)
        assert away == Verdict(None, "user 'guest' can only connect via localhost")

    play(scene)


def test_a_certificate_names_a_user_that_there_has_to_be() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", "", "")
        assert (await desk.begin("ann", None)).user == "ann"
        assert (await desk.begin("bob", None)).user is None
        assert (await desk.begin("ann", "")).user is None
        assert desk.checks == 1

    play(scene)


def test_failures_make_the_same_user_at_the_same_address_wait() -> None:
    back_off = BackOff()
    for _ in range(FREE):
        assert back_off.wait_s("a", "ann", 0) == 0
        back_off.failed("a", "ann", 0)
    first = back_off.wait_s("a", "ann", 0)
    assert first is not None and first > 0
    assert back_off.wait_s("a", "bob", 0) == 0
    assert back_off.wait_s("b", "ann", 0) == 0
    back_off.failed("a", "ann", 0)
    assert back_off.wait_s("a", "ann", 0) == 2 * first
    for _ in range(100):
        back_off.failed("a", "cid", 0)
    assert back_off.wait_s("a", "cid", 0) == LONGEST_NS / NS


def test_failures_with_many_users_make_the_address_wait() -> None:
    back_off = BackOff()
    for i in range(FREE_BY_ADDRESS):
        assert back_off.wait_s("a", f"user{i}", 0) == 0
        back_off.failed("a", f"user{i}", 0)
    assert back_off.wait_s("a", "another", 0) != 0
    assert back_off.wait_s("b", "another", 0) == 0


def test_a_success_and_time_forgive() -> None:
    back_off = BackOff()
    for _ in range(FREE + 3):
        back_off.failed("a", "ann", 0)
    back_off.succeeded("a", "ann")
    assert back_off.wait_s("a", "ann", 0) == 0
    for _ in range(FREE + 3):
        back_off.failed("a", "ann", 0)
    later = 1000 * NS
    back_off.failed("a", "ann", later)
    assert back_off.wait_s("a", "ann", later) == 0


def test_few_may_wait_at_a_time() -> None:
    back_off = BackOff()
    for _ in range(FREE):
        back_off.failed("a", "ann", 0)
    waits = [back_off.wait_s("a", "ann", 0) for _ in range(WAITING_MAX + 1)]
    assert None not in waits[:-1]
    assert waits[-1] is None
    back_off.waited("a", "ann")
    assert back_off.wait_s("a", "ann", 0) is not None


def test_addresses_are_not_remembered_without_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mansio.server.back_off.KNOWN_MAX", 10)
    back_off = BackOff()
    for i in range(100):
        back_off.failed(f"address{i}", "ann", 0)
    assert len(back_off._failures) <= 10


def test_nobody_is_locked_out_where_he_has_logged_in() -> None:
    async def scene(desk: Desk) -> None:
        desk.user("ann", *hash_password("secret"))
        assert (await desk.begin("ann", "secret")).user == "ann"
        for _ in range(FREE):
            assert (await desk.begin("ann", "wrong")).user is None
        for _ in range(WAITING_MAX + 5):
            desk.begin("ann", "guess")  # most of them wait for longer than this test
        assert (await desk.begin("ann", "secret")).user == "ann"
        assert desk.clock.ns == 1
        elsewhere = await desk.begin("ann", "secret", AWAY)
        assert elsewhere.user == "ann"

    play(scene)


def test_who_has_failed_waits_and_is_checked_then(monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(desk: Desk) -> None:
        monkeypatch.setattr("mansio.server.back_off.FIRST_NS", NS // 1000)
        desk.user("ann", *hash_password("secret"))
        for _ in range(FREE):
            assert (await desk.begin("ann", "wrong")).user is None
        checks = desk.checks
        answer = desk.begin("ann", "secret")
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert desk.checks == checks
        assert (await answer).user == "ann"

    play(scene)
