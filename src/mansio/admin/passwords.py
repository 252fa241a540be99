"""Passwords: how they are hashed, and checked in the same time whether there is such a user or not.

New ones are hashed by argon2id (RFC 9106). Hashes of RabbitMQ are checked as well: base64 of a salt of 4
bytes and the digest of salt and password (https://www.rabbitmq.com/docs/passwords), and made anew when
the user next logs in.
"""

import base64
import binascii
import hashlib
import hmac
import re
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple

from mansio.core.errors import BadValue

if TYPE_CHECKING:
    from argon2 import PasswordHasher

ARGON2ID: Final = "argon2id"
RABBITMQ: Final = {
    "rabbit_password_hashing_sha256": hashlib.sha256,
    "rabbit_password_hashing_sha512": hashlib.sha512,
    "rabbit_password_hashing_md5": hashlib.md5,
}
SALT_BYTES: Final = 4
"""Of a hash of RabbitMQ."""

ARGON2_PASSES: Final = 2
ARGON2_KIB: Final = 19 * 1024
"""OWASP's least recommendation for argon2id, with one lane: some 20 ms and 19 MiB for each password that is checked."""

ARGON2_KIB_MAX: Final = 256 * 1024
ARGON2_PASSES_MAX: Final = 10
"""Of hashes that were made elsewhere: each login costs as much."""

PASSWORD_BYTES_MAX: Final = 1024

_COSTS: Final = re.compile(r"\$argon2id\$v=\d+\$m=(\d{1,9}),t=(\d{1,9}),")


class Checked(NamedTuple):
    """Whether a password was right, and whether its hash is `outdated` and should be made anew."""

    right: bool
    outdated: bool = False


@cache
def _hasher() -> "PasswordHasher":
    from argon2 import PasswordHasher

    return PasswordHasher(time_cost=ARGON2_PASSES, memory_cost=ARGON2_KIB, parallelism=1)


@cache
def _nobody() -> str:
    """A hash whose password nobody knows; to check one against it takes as long as any.

    Written down, not made: else the first unknown user after a start would be told from the others by the time."""
    salt, digest = (
        base64.b64encode(hashlib.sha256(text).digest()[:size]).rstrip(b"=").decode()
        for text, size in ((b"nobody's salt", 16), (b"nobody's password", 32))
    )
    return f"$argon2id$v=19$m={ARGON2_KIB},t={ARGON2_PASSES},p=1${salt}${digest}"


def prepare() -> None:
    """Loads what is needed, which the first password would have to wait for. Errors: ImportError."""
    _hasher()
    _nobody()


def weight(password_hash: str, hashing: str) -> float:
    """How many times the work of a usual one checking a password against this hash is, at least 1.0."""
    costs = _COSTS.match(password_hash) if hashing == ARGON2ID else None
    if costs is None:
        return 1.0
    memory_kib, passes = map(int, costs.groups())
    return max(1.0, memory_kib * passes / (ARGON2_KIB * ARGON2_PASSES))


def hash_password(password: str) -> tuple[str, str]:
    """(hash, hashing) of a new password; BadValue for one that nobody could log in with. Takes some 20 ms."""
    if not password:
        raise BadValue("the password must not be empty")
    if len(password.encode("utf-8", "surrogateescape")) > PASSWORD_BYTES_MAX:
        raise BadValue(f"the password must not have more than {PASSWORD_BYTES_MAX} bytes")
    return _hasher().hash(password.encode("utf-8", "surrogateescape")), ARGON2ID


def check_password(password_hash: str, hashing: str, password: str) -> Checked:
    """Checks a password; takes as long as argon2id, unless it is right and its hash is one of RabbitMQ's.

    Both texts empty: there is no such user, or he has no password. Empty and overlong passwords are wrong.
    """
    raw = password.encode("utf-8", "surrogateescape")
    known = password_hash if 0 < len(raw) <= PASSWORD_BYTES_MAX else ""
    if known and hashing == ARGON2ID:
        return Checked(_is_argon2(known, raw))
    if known and _is_rabbitmq(known, hashing, raw):
        return Checked(True, outdated=True)
    _is_argon2(_nobody(), raw[:PASSWORD_BYTES_MAX])
    return Checked(False)


def _is_argon2(known: str, raw: bytes) -> bool:
    from argon2.exceptions import InvalidHashError, VerificationError

    try:
        return _hasher().verify(known, raw)
    except (VerificationError, InvalidHashError):
        return False


def _is_rabbitmq(known: str, hashing: str, raw: bytes) -> bool:
    digest = RABBITMQ.get(hashing)
    if digest is None:
        return False
    try:
        blob = base64.b64decode(known, validate=True)
    except (binascii.Error, ValueError):
        return False
    salt, wanted = blob[:SALT_BYTES], blob[SALT_BYTES:]
    return hmac.compare_digest(digest(salt + raw).digest(), wanted)


def check_hash(password_hash: str, hashing: str) -> None:
    """Whether these may be a user's; BadValue. Both empty: he does not log in by a password."""
    if not password_hash and not hashing:
        return
    if hashing == ARGON2ID:
        from argon2 import extract_parameters
        from argon2.exceptions import InvalidHashError

        try:
            costs = extract_parameters(password_hash)
        except InvalidHashError:
            raise BadValue("a password hash is not one of argon2id") from None
        if costs.memory_cost > ARGON2_KIB_MAX or costs.time_cost > ARGON2_PASSES_MAX:
            raise BadValue(
                f"a password hash takes {costs.memory_cost} KiB and {costs.time_cost} passes to check; at most "
                f"{ARGON2_KIB_MAX} and {ARGON2_PASSES_MAX} are taken"
            )
        return
    if hashing not in RABBITMQ:
        known = ", ".join((ARGON2ID, *RABBITMQ))
        raise BadValue(f"unknown hashing algorithm '{hashing}'; there are {known}")
    try:
        size = len(base64.b64decode(password_hash, validate=True))
    except (binascii.Error, ValueError):
        size = 0
    if size != SALT_BYTES + RABBITMQ[hashing]().digest_size:
        raise BadValue(f"a password hash is not base64 of a salt and a digest of {hashing}")
