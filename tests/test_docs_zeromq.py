"""The programs of docs/zeromq.md and docs/majordomo.md work as they stand, but for the port."""

import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess, BrokerStarter

DOCS = Path(__file__).parent.parent / "docs"
PAGES = {name: (DOCS / f"{name}.md").read_text() for name in ("zeromq", "majordomo")}
PROGRAMS = {
    name: dict(re.findall(r"```python\n# (\w+\.py)\n(.*?)```", page, re.DOTALL))
    for name, page in PAGES.items()
}
CASES = [
    ("zeromq", "put.py", [], "prints `b'200'`"),
    ("zeromq", "call.py", ["rep_worker.py"], "prints `[b'200', b'done: resize cat.jpg']`"),
    ("zeromq", "call.py", ["next_worker.py"], "prints `[b'200', b'done: resize cat.jpg']`"),
    ("zeromq", "puller.py", ["ventilator.py"], "prints is `b'image 0'`"),
    ("zeromq", "subscriber.py", ["publisher.py"], "prints `[b'weather.rome', b'27']`"),
    ("majordomo", "client.py", ["worker.py"], "prints `[b'HELLO']`"),
    ("majordomo", "titanic.py", ["worker.py"], "prints `[b'200', b'HELLO']`"),
]
"""(page, program, those that run beside it, what the page says of its output)."""


def command(page: str, name: str, port: int) -> list[str]:
    code = PROGRAMS[page][name].replace("tcp://localhost:5555", f"tcp://127.0.0.1:{port}")
    assert code != PROGRAMS[page][name]
    return [sys.executable, "-c", code]


@pytest.fixture
def zmq_broker() -> Iterator[BrokerProcess]:
    starter = BrokerStarter()
    try:
        yield starter(zmq=True)
    finally:
        starter.close()


def stop(process: subprocess.Popen[bytes]) -> None:
    process.kill()
    process.wait()


@pytest.mark.parametrize(("page", "name", "others", "said"), CASES)
def test_a_program_prints_what_the_page_says(
    zmq_broker: BrokerProcess, page: str, name: str, others: list[str], said: str
) -> None:
    text = " ".join(PAGES[page].split())
    assert said in text
    port = zmq_broker.zmq_port
    with ExitStack() as stack:
        if name == "subscriber.py":  # it must be there before anything is said
            again = "\n".join([
                "import subprocess, sys, time",
                "while True:",
                f"    subprocess.run({command(page, others[0], port)!r})",
            ])  # fmt: skip
            stack.callback(stop, subprocess.Popen([sys.executable, "-c", again]))
        else:
            for other in others:
                stack.callback(stop, subprocess.Popen(command(page, other, port)))
        done = subprocess.run(
            command(page, name, port), capture_output=True, text=True, timeout=50, check=False
        )
    assert (done.stdout, done.stderr) == (said.split("`")[1] + "\n", "")


def test_every_program_of_the_pages_is_run() -> None:
    run = {(page, name) for page, first, others, _ in CASES for name in (first, *others)}
    assert run == {(page, name) for page in PAGES for name in PROGRAMS[page]}
