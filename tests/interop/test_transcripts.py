"""Every transcript in tests/testdata/amqp, replayed on Mansio; and on RabbitMQ, to prove that it is still true."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess
from tests.interop.peer import Peer, PeerMissing, rabbitmq
from tests.interop.place import Sockets
from tests.interop.replay import replay_section
from tests.interop.transcript import Section, all_files, differences, parse
from tests.interop.virtual import VirtualBroker

SECTIONS = [
    pytest.param(section, id=f"{path.stem}: {section.title}")
    for path in all_files()
    for section in parse(path.read_text()).sections
]


@pytest.fixture(scope="session")
def peer() -> Iterator[Peer]:
    """A RabbitMQ of our own; skips where it is not installed."""
    try:
        with rabbitmq() as running:
            yield running
    except PeerMissing as missing:
        pytest.skip(str(missing))


@pytest.mark.parametrize("section", SECTIONS)
def test_mansio_answers_like_the_transcript(broker: BrokerProcess, section: Section) -> None:
    if section.absent is not None:
        pytest.skip(section.absent)
    place = VirtualBroker() if section.virtual else Sockets(broker.host, broker.port)
    diff = replay_section(section, place, on_mansio=True)
    assert not diff, "\n".join(diff)


@pytest.mark.interop
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in all_files()])
def test_rabbitmq_still_answers_like_the_transcript(peer: Peer, path: Path) -> None:
    place = Sockets(peer.host, peer.port, peer.management_port)
    sections = parse(path.read_text()).sections
    diffs = [replay_section(section, place, on_mansio=False) for section in sections]
    assert not any(diffs), "\n".join(line for diff in diffs for line in diff)


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in all_files()])
def test_reading_and_writing_a_transcript_changes_nothing(path: Path) -> None:
    text = path.read_text()
    assert parse(text).text() == text


@pytest.mark.parametrize("path", [pytest.param(path, id=path.stem) for path in all_files()])
def test_a_transcript_is_sound(path: Path) -> None:
    transcript = parse(path.read_text())
    titles = [section.title for section in transcript.sections]
    assert len(set(titles)) == len(titles)
    for section in transcript.sections:
        for step in section.steps:
            assert not any(line.startswith("S !!") for line in step.server), section.title
            assert not step.mansio or step.differs, f"{section.title}: M lines without a reason"
    assert all(why for _, why in differences(transcript))
