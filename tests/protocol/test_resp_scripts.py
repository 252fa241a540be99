"""Scripts that are known by their text: redis-py's Lock, as it sends them, indented as in its source."""

from hashlib import sha1

import pytest

from tests.protocol.resp_talk import Error, RedisTalker, World

HOLDS = """
        local token = redis.call('get', KEYS[1])
        if not token or token ~= ARGV[1] then
            return 0
        end
"""
RELEASE = f"{HOLDS}        redis.call('del', KEYS[1])\n        return 1\n    "
EXTEND = f"""{HOLDS}        local expiration = redis.call('pttl', KEYS[1])
        if not expiration then
            expiration = 0
        end
        if expiration < 0 then
            return 0
        end

        local newttl = ARGV[2]
        if ARGV[3] == "0" then
            newttl = ARGV[2] + expiration
        end
        redis.call('pexpire', KEYS[1], newttl)
        return 1
    """
REACQUIRE = f"{HOLDS}        redis.call('pexpire', KEYS[1], ARGV[2])\n        return 1\n    "


SHA = sha1(RELEASE.encode()).hexdigest()
NO_SCRIPT = Error("NOSCRIPT No matching script. Please use EVAL.")


@pytest.fixture
def world() -> World:
    return World()


@pytest.fixture
def redis(world: World) -> RedisTalker:
    talker = world.redis()
    talker.ask("SCRIPT FLUSH")
    return talker


def test_a_script_is_known_once_it_was_loaded(redis: RedisTalker) -> None:
    assert redis.call("EVALSHA", SHA, 1, "lock", "me") == NO_SCRIPT
    assert redis.call("SCRIPT", "EXISTS", SHA) == [0]
    assert redis.call("SCRIPT", "LOAD", RELEASE) == SHA.encode()
    assert redis.call("SCRIPT", "EXISTS", SHA.upper(), "0" * 40) == [1, 0]
    assert redis.call("EVALSHA", SHA.upper(), 1, "lock", "me") == 0
    assert redis.call("SCRIPT", "FLUSH", "ASYNC") == "OK"
    assert redis.call("EVALSHA", SHA, 1, "lock", "me") == NO_SCRIPT


def test_eval_loads_too(redis: RedisTalker) -> None:
    assert redis.call("EVAL", RELEASE, 1, "lock", "me") == 0
    assert redis.call("SCRIPT", "EXISTS", SHA) == [1]


def test_a_lock_is_given_back_by_who_holds_it(redis: RedisTalker) -> None:
    redis.ask("SET lock me")
    assert redis.call("EVAL", RELEASE, 1, "lock", "you") == 0
    assert redis.call("EVAL", RELEASE, 1, "lock") == 0
    assert redis.ask("GET lock") == b"me"
    assert redis.call("EVAL", RELEASE, 1, "lock", "me") == 1
    assert redis.ask("EXISTS lock") == 0
    assert redis.call("EVAL", RELEASE, 1, "lock", "me") == 0


def test_a_lock_is_held_for_longer(redis: RedisTalker) -> None:
    redis.ask("SET lock me PX 1000")
    assert redis.call("EVAL", EXTEND, 1, "lock", "me", 500, "0") == 1
    assert redis.ask("PTTL lock") == 1500
    assert redis.call("EVAL", EXTEND, 1, "lock", "me", 500, "1") == 1
    assert redis.ask("PTTL lock") == 500
    assert redis.call("EVAL", EXTEND, 1, "lock", "you", 500, "1") == 0
    redis.ask("SET lock me")
    assert redis.call("EVAL", EXTEND, 1, "lock", "me", 500, "1") == 0  # it has no end


def test_a_lock_is_reacquired(world: World, redis: RedisTalker) -> None:
    redis.ask("SET lock me PX 1000")
    world.pass_ms(400)
    assert redis.call("EVAL", REACQUIRE, 1, "lock", "me", 1000) == 1
    assert redis.ask("PTTL lock") == 1000
    assert redis.call("EVAL", REACQUIRE, 1, "lock", "you", 2000) == 0
    world.pass_ms(1001)
    assert redis.call("EVAL", REACQUIRE, 1, "lock", "me", 1000) == 0


def test_in_a_transaction(redis: RedisTalker) -> None:
    """taskiq's stream broker: the lock is taken, and given back, around what it claims."""
    redis.call("SCRIPT", "LOAD", RELEASE)
    redis.ask("MULTI")
    redis.ask("SET lock me NX")
    redis.call("EVALSHA", SHA, 1, "lock", "me")
    assert redis.ask("EXEC") == ["OK", 1]
    assert redis.ask("EXISTS lock") == 0


def test_other_scripts_are_refused(redis: RedisTalker) -> None:
    text = "ERR there is no Lua here: only the scripts of redis-py's Lock are known"
    assert redis.call("EVAL", "return 1", 0) == Error(text)
    assert redis.call("SCRIPT", "LOAD", "return 1") == Error(text)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (("EVAL", RELEASE, "x"), "ERR value is not an integer or out of range"),
        (("EVAL", RELEASE, 1), "ERR Number of keys can't be greater than number of args"),
        (("EVAL", RELEASE, -1), "ERR Number of keys can't be negative"),
        (("EVALSHA", SHA, 2, "k"), "ERR Number of keys can't be greater than number of args"),
        (("EVAL", REACQUIRE, 1, "lock", "me", "x"), "ERR value is not an integer or out of range"),
        (("EVAL", RELEASE, 1, "list", "me"), "WRONGTYPE Operation against a key holding the wrong kind of value"),
        (("SCRIPT", "LOAD"), "ERR wrong number of arguments for 'script|load' command"),
        (("SCRIPT", "NO"), "ERR unknown subcommand 'NO'. Try SCRIPT HELP."),
    ],
)  # fmt: skip
def test_mistakes(redis: RedisTalker, words: tuple[str | int, ...], text: str) -> None:
    redis.ask("SET lock me")
    redis.ask("LPUSH list x")
    assert redis.call(*words) == Error(text)


def test_texts_that_differ_in_blanks_do_not_pile_up(redis: RedisTalker) -> None:
    for blanks in range(200):
        redis.call("SCRIPT", "LOAD", RELEASE + " " * blanks)
    last = sha1((RELEASE + " " * 199).encode()).hexdigest()
    assert redis.call("SCRIPT", "EXISTS", SHA, last) == [0, 1]
