"""A password to check, what comes of it, and both as bytes between the broker and the process that hashes.

request  renew:1  bytes of hash:4  of hashing:4  of password:4 │ the three texts
reply    right:1  nanoseconds of cost:8 bytes of hash:4        │ the new hash

The first reply has no request: the process is ready.
"""

from collections.abc import Callable
from struct import Struct
from typing import Final, NamedTuple, Protocol

from mansio.admin.passwords import PASSWORD_BYTES_MAX, check_password, hash_password

REQUEST: Final = Struct("<?III")
REPLY: Final = Struct("<?QI")


class Job(NamedTuple):
    """A password beside what is known of the user's: see `check_password`. `renew`: an outdated hash is made anew."""

    known: str
    hashing: str
    password: str
    renew: bool = False


class Answer(NamedTuple):
    """`renewed`: a hash of argon2id in the place of an outdated one, or "". `cost_ns`: of the process its processor's
    time, since the rest is nobody else's loss; of the thread all that it took, which is more on a busy machine."""

    right: bool
    renewed: str = ""
    cost_ns: int = 0


READY: Final = Answer(False)


class Hasher(Protocol):
    """Does one job at a time, beside the event loop."""

    async def check(self, job: Job) -> Answer | None:
        """None, and a line in the log, if it cannot be done. No exceptions."""

    def close(self) -> None:
        """What is under way is not done; may be called again."""


def work(job: Job, now_ns: Callable[[], int]) -> Answer:
    """Does a job; 20 ms or so of a processor. `now_ns`: the clock by which it costs."""
    began_ns = now_ns()
    checked = check_password(job.known, job.hashing, job.password)
    renewed = ""
    if checked.outdated and job.renew:
        renewed, _ = hash_password(job.password)
    return Answer(checked.right, renewed, now_ns() - began_ns)


def encode_job(job: Job) -> bytes:
    """A request; of an overlong password just so much that it stays overlong."""
    known, hashing, password = (text.encode("utf-8", "surrogateescape") for text in job[:3])
    password = password[: PASSWORD_BYTES_MAX + 1]
    head = REQUEST.pack(job.renew, len(known), len(hashing), len(password))
    return b"".join((head, known, hashing, password))


def decode_job(head: bytes, take: Callable[[int], bytes]) -> Job:
    """The job of a request; `take` gives the next bytes."""
    renew, *sizes = REQUEST.unpack(head)
    known, hashing, password = (take(size).decode("utf-8", "surrogateescape") for size in sizes)
    return Job(known, hashing, password, renew)


def encode_answer(answer: Answer) -> bytes:
    """A reply."""
    renewed = answer.renewed.encode()
    return REPLY.pack(answer.right, answer.cost_ns, len(renewed)) + renewed


def decode_answer(received: bytearray) -> Answer | None:
    """The reply that these bytes are; None while some are missing."""
    if len(received) < REPLY.size:
        return None
    right, cost_ns, size = REPLY.unpack_from(received)
    if len(received) < REPLY.size + size:
        return None
    return Answer(right, received[REPLY.size :].decode(), cost_ns)
