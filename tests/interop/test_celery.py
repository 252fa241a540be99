"""Celery, unmodified: what its users rely on beyond sending a task and getting its result."""

import os
import subprocess
import uuid
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.conftest import BrokerProcess
from tests.interop.howto import SECONDS_MAX, Background
from tests.interop.test_howto import PACKAGES
from tests.interop.venvs import venv

pytestmark = [pytest.mark.interop, pytest.mark.timeout(300)]

FOLDER = Path(__file__).parent
PRELUDE = "import time; from celery_tasks import *\n"


class Application:
    """The application of celery_tasks.py with a queue of its own; its workers end with the test."""

    def __init__(self, folder: Path, broker: BrokerProcess, stack: ExitStack) -> None:
        self.folder = folder
        self.stack = stack
        self.bin = venv(*PACKAGES["celery"])
        self.environ = os.environ | {
            "BROKER": f"amqp://guest:guest@{broker.host}:{broker.port}",
            "QUEUE": f"celery-{uuid.uuid4().hex[:8]}",
            "PYTHONPATH": str(FOLDER),
        }

    def worker(self, *options: str) -> Background:
        """Start a worker; it has printed that it is ready."""
        words = [str(self.bin / "celery"), "-A", "celery_tasks", "worker", "-l", "info", *options]
        worker = self.stack.enter_context(Background(words, self.folder, self.environ))
        worker.wait_for(" ready.")
        return worker

    def call(self, code: str) -> list[str]:
        """Run a few lines beside the application; the lines that they print."""
        done = subprocess.run(
            [self.bin / "python", "-c", PRELUDE + code], cwd=self.folder, env=self.environ,
            capture_output=True, text=True, timeout=SECONDS_MAX,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def application(tmp_path: Path, broker: BrokerProcess) -> Iterator[Application]:
    """The application on this session's broker."""
    with ExitStack() as stack:
        yield Application(tmp_path, broker, stack)


def test_results_of_many_tasks(application: Application) -> None:
    application.worker("-c", "2")
    code = """
results = [add.delay(n, n) for n in range(50)]
print([r.get(timeout=20) for r in results] == [2 * n for n in range(50)])
"""
    assert application.call(code) == ["True"]


def test_tasks_that_wait_for_their_eta_do_not_hold_up_others(application: Application) -> None:
    """The worker raises its prefetch count while it runs, which is why it must find global QoS."""
    worker = application.worker("-c", "1")
    code = """
for n in range(5):
    add.apply_async((n, n), countdown=60)
print(add.delay(1, 2).get(timeout=20))
print(app.control.inspect(timeout=5).stats().popitem()[1]["prefetch_count"] >= 6)
app.control.purge()
"""
    assert application.call(code) == ["3", "True"]
    assert "Global QoS is disabled" not in worker.text()


def test_remote_control(application: Application) -> None:
    application.worker("-c", "1", "-n", "one@%h")
    application.worker("-c", "1", "-n", "two@%h")
    code = """
one, two = sorted(w for reply in app.control.ping(timeout=5, limit=2) for w in reply)
print(one.split("@")[0], two.split("@")[0])


def ask(what):
    return app.control.inspect((one, two), timeout=20, limit=2).__getattribute__(what)()


def tell(what, *workers, **arguments):
    app.control.broadcast(
        what, arguments, destination=workers, reply=True, timeout=20, limit=len(workers)
    )


def wait_for(what, look):
    while not look(found := ask(what)):
        time.sleep(0.1)
    return found


tell("pool_grow", one, n=2)
wait_for("stats", lambda stats: len(stats[one]["pool"]["processes"]) == 3)
later = add.apply_async((1, 1), countdown=30)
scheduled = wait_for("scheduled", lambda tasks: any(tasks.values()))
print([task["request"]["id"] == later.id for tasks in scheduled.values() for task in tasks])
later.revoke()
tell("cancel_consumer", one, two, queue=app.conf.task_default_queue)
wait_for("active_queues", lambda queues: not any(queues.values()))
"""
    assert application.call(code) == ["one two", "[True]"]


def test_autoscale_grows_and_fetches_more(application: Application) -> None:
    """Four tasks that take 3 s each overlap, although the worker began with one process and a prefetch of 1."""
    worker = application.worker("--autoscale", "4,1")
    code = """
results = [hold.delay(3) for _ in range(4)]
began = [r.get(timeout=30) for r in results]
print(max(began) - min(began) < 3)
"""
    assert application.call(code) == ["True"]
    assert worker.text().count("Scaling up") == 3


def test_priorities(application: Application) -> None:
    code = "for n in (1, 5, 3, 9, 0): say.apply_async((f'priority {n}',), priority=n)"
    application.call(code)
    worker = application.worker("-c", "1")
    lines = [f"said priority {n}" for n in (9, 5, 3, 1, 0)]
    text = worker.wait_for(*lines)
    assert sorted(lines, key=text.index) == lines


def test_eta_beyond_the_acknowledgement_timeout(application: Application) -> None:
    """The worker loses its consumer, connects again and runs the task once, at its time."""
    application.environ["TIMEOUT_MS"] = "1000"
    worker = application.worker("-c", "1")
    application.call("say.apply_async(('late',), countdown=5); print(add.delay(1, 2).get())")
    text = worker.wait_for("said late")
    assert "Connection to broker lost" in text or "consumer" in text.lower()
    assert application.call("print(add.delay(3, 4).get(timeout=20))") == ["7"]
    assert worker.text().count("said late") == 1


def test_native_delayed_delivery(application: Application) -> None:
    """Quorum queues and a topic exchange: tasks wait in 28 queues with TTL and dead-lettering."""
    application.environ["QUORUM"] = "1"
    worker = application.worker("-c", "1")
    code = """
say.apply_async(("second",), countdown=3)
say.apply_async(("first",), countdown=1)
time.sleep(0.3)
print(app.control.inspect(timeout=2).scheduled().popitem()[1])
"""
    assert application.call(code) == ["[]"]
    text = worker.wait_for("said first", "said second")
    assert text.index("said first") < text.index("said second")


def test_a_delay_in_the_broker(application: Application) -> None:
    worker = application.worker("-c", "1")
    code = """
say.apply_async(("second",), headers={"x-delay": 2000})
say.apply_async(("first",))
print(app.control.inspect(timeout=2).scheduled().popitem()[1])
"""
    assert application.call(code) == ["[]"]
    text = worker.wait_for("said first", "said second")
    assert text.index("said first") < text.index("said second")
