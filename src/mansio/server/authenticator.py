"""Checks logins beside the event loop, one at a time, and slows down who guesses.

begin ──► this user was here before with this password ──────────► done, at once
      ├─► this address has failed with this user, or with many ──► waits, then as the others
      ├─► this user was elsewhere with this password ────────────► done, at once
      └─► another process: argon2id ──► done                      those who ask the same share the answer

Each wait and each queue is bounded; what does not fit is refused, with a reason in the log. Who has logged in from an
address is let in again from there without a wait, so that nobody else at the address can lock him out.
"""

import asyncio
import hashlib
import hmac
import logging
import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from mansio.admin.passwords import ARGON2ID
from mansio.core.broker import Broker
from mansio.core.limits import NS
from mansio.core.users import User
from mansio.protocol.base import Credentials, Peer, Verdict
from mansio.server.back_off import BackOff
from mansio.server.clock import Clock
from mansio.server.hasher import SparingHasher
from mansio.server.hashing import Hasher, Job
from mansio.server.tasks import Tasks

logger = logging.getLogger("mansio.login")

CHECKS_MAX: Final = 64
"""Different passwords that wait to be checked, some 20 ms each: more would not be answered within the handshake."""
SHARED_MAX: Final = 4096
"""Connections that wait for one of these answers."""
SEEN_MAX: Final = 8192
"""Addresses from which users have logged in that are remembered."""
PAUSES: Final = 4
"""How many times the cost of a wrong password nothing is checked behind it."""

Done = Callable[[Verdict], None]


@dataclass(slots=True)
class _Attempt:
    user: str
    address: str
    done: Done


class LoginAuthenticator:
    """Knows the users of a broker; `Authenticator` for the fronts."""

    def __init__(
        self,
        broker: Broker,
        clock: Clock,
        tasks: Tasks,
        loopback_users: frozenset[str],
        hasher: Hasher | None = None,
    ) -> None:
        self._broker = broker
        self._clock = clock
        self._tasks = tasks
        self._loopback_users = loopback_users
        self._back_off = BackOff()
        self._key = secrets.token_bytes(32)
        self._good: dict[str, tuple[str, bytes]] = {}
        """By user: (hash, digest of the password that it was found right for)."""
        self._seen: dict[tuple[str, str], None] = {}
        """(address, user) of logins that were right, the latest last."""
        self._waiting: dict[tuple[str, str, bytes], list[_Attempt]] = {}
        self._turns = asyncio.Lock()
        self._hasher = hasher or SparingHasher(clock, tasks)

    def begin(self, credentials: Credentials, peer: Peer, done: Done) -> None:
        """See `Authenticator`; `done` is never called from here, but in a later pass of the loop."""
        attempt = _Attempt(credentials.user, peer.address, done)
        if credentials.user in self._loopback_users and not peer.loopback:
            text = f"user '{credentials.user}' can only connect via localhost"
            self._finish(attempt, Verdict(None, text))
            return
        if credentials.password is None:
            self._admit_by_certificate(attempt)
            return
        if (attempt.address, attempt.user) in self._seen and self._is_good(
            attempt, credentials.password
        ):
            self._finish(attempt, Verdict(attempt.user))
            return
        wait_s = self._back_off.wait_s(attempt.address, attempt.user, self._clock.now_ns())
        if wait_s is None:
            text = f"too many failed logins from {attempt.address}, and too many wait: not checked"
            self._finish(attempt, Verdict(None, text, passing=True))
        elif wait_s > 0:
            asyncio.get_running_loop().call_later(
                wait_s, self._check_late, attempt, credentials.password
            )
        else:
            self._check(attempt, credentials.password)

    def _admit_by_certificate(self, attempt: _Attempt) -> None:
        if self._broker.users.find(attempt.user) is not None:
            self._finish(attempt, Verdict(attempt.user))
        else:
            text = f"user '{attempt.user}', named by the certificate, is not known"
            self._finish(attempt, Verdict(None, text))

    def _check_late(self, attempt: _Attempt, password: str) -> None:
        self._back_off.waited(attempt.address, attempt.user)
        self._check(attempt, password)

    def _check(self, attempt: _Attempt, password: str) -> None:
        if self._is_good(attempt, password):
            self._admit(attempt)
            return
        user = self._broker.users.find(attempt.user)
        key = (attempt.user, user.password_hash if user is not None else "", self._digest(password))
        sharing = self._waiting.get(key)
        if sharing is None and len(self._waiting) < CHECKS_MAX:
            self._waiting[key] = [attempt]
            self._tasks.start(self._hash(key, user, password), "login")
        elif sharing is not None and len(sharing) < SHARED_MAX:
            sharing.append(attempt)
        else:
            self._finish(attempt, Verdict(None, "too many logins at a time: not checked", True))

    def _digest(self, password: str) -> bytes:
        raw = password.encode("utf-8", "surrogateescape")
        return hashlib.blake2b(raw, key=self._key).digest()

    def _is_good(self, attempt: _Attempt, password: str) -> bool:
        """Whether this password was found right before, and has not been changed since."""
        user = self._broker.users.find(attempt.user)
        good = self._good.get(attempt.user)
        if user is None or good is None or good[0] != user.password_hash:
            return False
        return hmac.compare_digest(good[1], self._digest(password))

    def _admit(self, attempt: _Attempt) -> None:
        where = (attempt.address, attempt.user)
        self._seen.pop(where, None)
        if len(self._seen) >= SEEN_MAX:
            del self._seen[next(iter(self._seen))]
        self._seen[where] = None
        self._back_off.succeeded(*where)
        self._finish(attempt, Verdict(attempt.user))

    async def _hash(self, key: tuple[str, str, bytes], user: User | None, password: str) -> None:
        name, known, digest = key
        renew = not self._broker.users.implied  # the implied default user is left as he is
        job = Job(known, user.hashing if user is not None else "", password, renew)
        async with self._turns:
            answer = await self._hasher.check(job)
            if answer is not None and not answer.right:  # who guesses shall keep no processor busy
                await asyncio.sleep(answer.cost_ns / NS * PAUSES)
        attempts = self._waiting.pop(key)
        if answer is None:
            for attempt in attempts:
                self._finish(attempt, Verdict(None, "the password could not be checked", True))
            return
        still_there = user is not None and user.password_hash == known
        right = answer.right and still_there and self._broker.users.find(name) is user
        if right:
            self._good[name] = (known, digest)
        for attempt in attempts:
            self._conclude(attempt, user, right, password)
        if right and answer.renewed:
            self._renew(name, answer.renewed, digest)

    def _conclude(self, attempt: _Attempt, user: User | None, right: bool, password: str) -> None:
        if right:
            self._admit(attempt)
            return
        self._back_off.failed(attempt.address, attempt.user, self._clock.now_ns())
        text = f"user '{attempt.user}' - invalid credentials"
        if user is not None and not password:
            text = f"user '{attempt.user}' attempted to log in with a blank password, which is prohibited"
        self._finish(attempt, Verdict(None, text))

    def _renew(self, name: str, renewed: str, digest: bytes) -> None:
        """A hash of RabbitMQ's is replaced, now that the password is known."""
        self._broker.administration.set_password(name, renewed, ARGON2ID)
        self._good[name] = (renewed, digest)
        logger.info("user '%s': the hash of the password is now one of argon2id", name)

    def _finish(self, attempt: _Attempt, verdict: Verdict) -> None:
        if verdict.user is None:
            self._broker.counts.logins_refused += 1
        else:
            self._broker.counts.logins += 1
        asyncio.get_running_loop().call_soon(attempt.done, verdict)

    def close(self) -> None:
        """Ends what hashes; what it has not done is not done."""
        self._hasher.close()
