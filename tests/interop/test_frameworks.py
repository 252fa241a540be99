"""FastStream and taskiq, whose packages bring no tests: what they ask of a broker beyond the how-to pages."""

import subprocess
import uuid
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess
from tests.interop.howto import SECONDS_MAX
from tests.interop.test_howto import PACKAGES
from tests.interop.venvs import venv

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parent


def run(framework: str, broker: BrokerProcess, *options: str) -> str:
    """What FRAMEWORK_program.py prints; its queues have names of their own. This folder has an operator.py: -P."""
    url = f"amqp://guest:guest@{broker.host}:{broker.port}/"
    name = f"{framework}-{uuid.uuid4().hex[:8]}"
    python = venv(*PACKAGES[framework]) / "python"
    done = subprocess.run(
        [python, "-P", FOLDER / f"{framework}_program.py", url, name, *options],
        capture_output=True, text=True, timeout=SECONDS_MAX,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_faststream(broker: BrokerProcess) -> None:
    assert run("faststream", broker) == "dead: work, header: four, topic: one, echoecho"


@pytest.mark.parametrize("way", ["queue", "exchange"])
def test_taskiq_delays_and_priorities(broker: BrokerProcess, way: str) -> None:
    """`exchange` is of type x-delayed-message."""
    printed = run("taskiq", broker, way)
    assert printed == "priority 9, priority 5, priority 1, late"


def test_taskiq_delivery_limit(broker: BrokerProcess) -> None:
    assert run("taskiq", broker, "limit") == "poison delivery_limit"
