"""What redis-server 7.0.15 answered, word for word: see testdata/redis, recorded by tests/interop/record_redis.py."""

import pytest

from tests.protocol import resp_transcripts as transcripts
from tests.protocol.resp_talk import World, command

SECTIONS = [
    pytest.param(section, id=f"{path.stem}: {section.title}")
    for path in sorted(transcripts.FOLDER.glob("*.txt"))
    for section in transcripts.read(path)
]


@pytest.mark.parametrize("proto", [2, 3])
@pytest.mark.parametrize("section", SECTIONS)
def test_replies_are_those_of_redis(section: transcripts.Section, proto: int) -> None:
    world = World()
    talkers = {name: world.redis(proto) for name in transcripts.clients(section)}

    def send(who: str, data: bytes) -> None:
        if not talkers[who].front.closed:
            talkers[who].send_bytes(data)
        world.turn()

    for i, heard in transcripts.play(section, send, lambda who: talkers[who].raw()):
        expected = section.heard[proto][i]
        assert dict(heard) == dict(expected), section.steps[i]


def test_a_transcript_reads_as_it_was_written() -> None:
    data = bytes(range(256))
    assert transcripts.unescape(transcripts.escape(data)) == data
    assert transcripts.octets('a "b\\x00"') == command("a", "b\0")
