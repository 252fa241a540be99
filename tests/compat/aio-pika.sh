#!/bin/bash
# aio-pika tests (from the source archive); its docker fixture is replaced by aiormq_fixtures.py; left out: TLS, and what restarts a container
. "$(dirname "$0")/lib.sh"; D=$(cd "$(dirname "$0")"; pwd)
sdist aio-pika 10.2.1 aio_pika
mkvenv aio-pika aio-pika==10.2.1 "pytest<9" aiomisc aiomisc-pytest pytest-rst pytest-timeout shortuuid timeout-decorator
cp "$D/aiormq_fixtures.py" tests/broker_fixtures.py
cat >> tests/conftest.py <<'P'


def pytest_configure(config):
    """No docker."""


from .broker_fixtures import rabbitmq_container  # noqa
P
PYTHONPATH=$W suite aio-pika --timeout 60 tests --ignore tests/test_amqps.py --ignore tests/test_memory_leak.py --ignore tests/test_robust_recovery.py ${DESELECT:-}
summary aio-pika
