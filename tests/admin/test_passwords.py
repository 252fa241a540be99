"""Passwords: right ones, wrong ones, hashes of RabbitMQ, and what cannot be a hash."""

import base64
import hashlib

import pytest
from argon2 import PasswordHasher, extract_parameters

from mansio.admin import passwords
from mansio.admin.passwords import (
    ARGON2ID,
    PASSWORD_BYTES_MAX,
    RABBITMQ,
    check_hash,
    check_password,
    hash_password,
)
from mansio.core.errors import BadValue
from mansio.core.users import DEFAULT_HASH, DEFAULT_HASHING, DEFAULT_PASSWORD


def rabbitmq(password: str, hashing: str = "rabbit_password_hashing_sha256") -> str:
    digest = RABBITMQ[hashing]
    return base64.b64encode(b"salt" + digest(b"salt" + password.encode()).digest()).decode()


def test_a_new_password_is_right_and_no_other() -> None:
    known, hashing = hash_password("öpen \udcff")
    assert hashing == ARGON2ID
    assert check_password(known, hashing, "öpen \udcff") == (True, False)
    for wrong in ("open", "", "öpen ", "x" * PASSWORD_BYTES_MAX * 2):
        assert not check_password(known, hashing, wrong).right
    check_hash(known, hashing)


@pytest.mark.parametrize("hashing", RABBITMQ)
def test_hashes_of_rabbitmq_are_right_and_outdated(hashing: str) -> None:
    known = rabbitmq("secret", hashing)
    check_hash(known, hashing)
    assert check_password(known, hashing, "secret") == (True, True)
    assert check_password(known, hashing, "Secret") == (False, False)
    assert check_password(known, hashing, "") == (False, False)


def test_the_default_user_has_the_password_that_everybody_knows() -> None:
    check_hash(DEFAULT_HASH, DEFAULT_HASHING)
    assert check_password(DEFAULT_HASH, DEFAULT_HASHING, DEFAULT_PASSWORD).right
    assert not check_password(DEFAULT_HASH, DEFAULT_HASHING, "Guest").right


@pytest.mark.parametrize(
    ("known", "hashing"),
    [
        ("", ""),
        (rabbitmq("right"), "rabbit_password_hashing_sha256"),
        (rabbitmq("right"), "rabbit_password_hashing_sha512"),
        (rabbitmq("right"), "no such hashing"),
        ("not base64!", "rabbit_password_hashing_sha256"),
        ("$argon2id$broken", ARGON2ID),
    ],
)
def test_every_wrong_password_costs_one_argon2(
    known: str, hashing: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    checks: list[str] = []
    check = passwords._is_argon2
    monkeypatch.setattr(
        passwords, "_is_argon2", lambda known, raw: checks.append(known) or check(known, raw)
    )
    assert not check_password(known, hashing, "wrong").right
    assert len(checks) == 1


def test_nobody_has_a_hash_like_everybody(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(*_: object) -> None:
        raise AssertionError("the first unknown user would take longer than the others")

    known, hashing = hash_password("secret")
    monkeypatch.setattr(PasswordHasher, "hash", never)
    nobody = passwords._nobody()
    assert extract_parameters(nobody) == extract_parameters(known)
    assert len(nobody) == len(known)
    check_hash(nobody, hashing)
    assert not check_password("", "", "secret").right


@pytest.mark.parametrize(
    ("known", "hashing"),
    [
        ("x", ""),
        ("", ARGON2ID),
        ("", "rabbit_password_hashing_sha256"),
        ("plain", ARGON2ID),
        ("$argon2id$v=19$m=99999999,t=2,p=1$c2FsdHNhbHQ$aGFzaA", ARGON2ID),
        (base64.b64encode(b"short").decode(), "rabbit_password_hashing_sha256"),
        (rabbitmq("x"), "rabbit_password_hashing_sha512"),
        ("!!!!", "rabbit_password_hashing_md5"),
        (hashlib.sha256(b"x").hexdigest(), "sha256"),
    ],
)
def test_what_cannot_be_a_hash(known: str, hashing: str) -> None:
    with pytest.raises(BadValue):
        check_hash(known, hashing)


@pytest.mark.parametrize("password", ["", "x" * (PASSWORD_BYTES_MAX + 1)])
def test_what_cannot_be_a_password(password: str) -> None:
    with pytest.raises(BadValue):
        hash_password(password)
