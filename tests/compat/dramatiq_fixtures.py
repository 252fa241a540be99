"""Fixtures of dramatiq's tests of RabbitMQ, which its source archive lacks."""

import os
import random
from collections.abc import Iterator

import dramatiq  # type: ignore[import-not-found]
import pytest
from dramatiq import Worker
from dramatiq.brokers.rabbitmq import RabbitmqBroker  # type: ignore[import-not-found]


@pytest.fixture
def rabbitmq_broker() -> Iterator[RabbitmqBroker]:
    """A broker whose queues are emptied behind each test."""
    port = int(os.environ["AMQP_PORT"])
    broker = RabbitmqBroker(
        host="127.0.0.1", port=port, max_priority=10, confirm_delivery=True,
    )  # fmt: skip
    broker.emit_after("process_boot")
    dramatiq.set_broker(broker)
    yield broker
    broker.flush_all()
    broker.close()


@pytest.fixture
def rabbitmq_random_queue(rabbitmq_broker: RabbitmqBroker) -> Iterator[str]:
    """The name of a queue that goes with the test."""
    queue = f"rabbit-queue-{random.randrange(10**9)}"
    yield queue
    rabbitmq_broker.delete_queue(queue)


@pytest.fixture
def rabbitmq_worker(rabbitmq_broker: RabbitmqBroker) -> Iterator[Worker]:
    """A worker."""
    worker = Worker(rabbitmq_broker, worker_threads=32)
    worker.start()
    yield worker
    worker.stop()
