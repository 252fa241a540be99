"""The programs of docs/majordomo.md work as they stand, but for the port."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, BrokerStarter

PAGE = (Path(__file__).parent.parent / "docs" / "majordomo.md").read_text()
PROGRAMS = dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", PAGE, re.DOTALL))
PRINTED = {"client.py": "[b'HELLO']", "titanic.py": "[b'200', b'HELLO']"}


def command(name: str, port: int) -> list[str]:
    code = PROGRAMS[name].replace("tcp://localhost:5555", f"tcp://127.0.0.1:{port}")
    assert code != PROGRAMS[name]
    return [sys.executable, "-c", code]


@pytest.fixture(scope="module")
def zmq_broker() -> Iterator[BrokerProcess]:
    starter = BrokerStarter()
    try:
        yield starter(zmq=True)
    finally:
        starter.close()


@pytest.mark.parametrize("name", PRINTED)
def test_a_program_prints_what_the_page_says(zmq_broker: BrokerProcess, name: str) -> None:
    assert f"prints `{PRINTED[name]}`" in PAGE
    worker = subprocess.Popen(command("worker.py", zmq_broker.zmq_port))
    try:
        words = command(name, zmq_broker.zmq_port)
        done = subprocess.run(words, capture_output=True, text=True, timeout=50)
        assert (done.stdout, done.stderr) == (PRINTED[name] + "\n", "")
    finally:
        worker.kill()
        worker.wait()
