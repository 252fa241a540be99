#!/bin/bash
# dramatiq, tests of its RabbitMQ broker (from the source archive, which lacks the two files of fixtures: dramatiq_*.py here)
. "$(dirname "$0")/lib.sh"; D=$(cd "$(dirname "$0")"; pwd)
sdist dramatiq 2.2.1 dramatiq
mkvenv dramatiq "dramatiq[rabbitmq]==2.2.1" pytest-timeout
touch tests/__init__.py; cp "$D/dramatiq_fixtures.py" tests/conftest.py; cp "$D/dramatiq_common.py" tests/common.py
# the port is not configurable in the tests
sed -i "s/@127\.0\.0\.1\"/@127.0.0.1:$AMQP_PORT\"/; s/host=\"127\.0\.0\.1\", credentials/host=\"127.0.0.1\", port=$AMQP_PORT, credentials/; s/^\( *\)host=\"127\.0\.0\.1\",\$/\1host=\"127.0.0.1\", port=$AMQP_PORT,/" tests/test_rabbitmq.py
PYTHONPATH=$W suite dramatiq -o addopts= --timeout 60 tests/test_rabbitmq.py ${DESELECT:-}
summary dramatiq
