"""The how-to pages of docs/clients, followed to the letter with the versions that they name."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess
from tests.interop.howto import Page
from tests.interop.venvs import venv

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

PACKAGES = {
    "celery": ("celery==5.7.0", "kombu==5.7.0"),
    "dramatiq": ("dramatiq[rabbitmq]==2.2.1",),
    "faststream": ("faststream[rabbit,cli]==0.7.8",),
    "nameko": ("nameko==2.14.1", "kombu==5.7.0"),
    "taskiq": ("taskiq-aio-pika==0.6.1", "taskiq==0.13.0"),
}

Open = Callable[[str], Page]


@pytest.fixture
def page(tmp_path: Path, broker: BrokerProcess) -> Open:
    """Open one page by its name."""
    return lambda name: Page(name, tmp_path, venv(*PACKAGES[name]), broker)


def test_celery(page: Open) -> None:
    celery = page("celery")
    with celery.start("celery -A tasks worker"):
        assert celery.run("python call.py") == celery.output


def test_dramatiq(page: Open) -> None:
    dramatiq = page("dramatiq")
    with dramatiq.start("dramatiq tasks --processes 1") as worker:
        dramatiq.run("python call.py")
        printed = worker.wait_for(*dramatiq.output.splitlines())
    first, second = (printed.index(line) for line in dramatiq.output.splitlines())
    assert first < second


def test_faststream(page: Open) -> None:
    faststream = page("faststream")
    with faststream.start("faststream run app:app") as application:
        application.wait_for("FastStream app started successfully")
        assert faststream.run("python call.py") == faststream.output
        application.wait_for("Hello, Mansio!")


def test_nameko(page: Open) -> None:
    nameko = page("nameko")
    address = "amqp://guest:guest@localhost:5672"
    with nameko.start(f"nameko run greeter --broker {address}") as service:
        service.wait_for("Connected to")
        assert nameko.run("python call.py") == nameko.output
        service.wait_for("greeted Mansio")


def test_taskiq(page: Open) -> None:
    taskiq = page("taskiq")
    with taskiq.start("taskiq worker tasks:broker --workers 1") as worker:
        taskiq.run("python call.py")
        printed = worker.wait_for(*taskiq.output.splitlines())
    first, second = (printed.index(line) for line in taskiq.output.splitlines())
    assert first < second
