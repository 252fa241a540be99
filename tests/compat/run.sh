#!/bin/bash
# Runs third-party client suites against a Mansio of this checkout: `run.sh [SUITE...]`. Suites come from PyPI into a
# cache folder (SUITES); each prints one line. Ports: AMQP_PORT (5673), REDIS_PORT (6380), HTTP_PORT (15673) for
# amqpstorm's clean-up.
set -u
here=$(cd "$(dirname "$0")" && pwd); top=$(cd "$here/../.." && pwd)
export AMQP_PORT=${AMQP_PORT:-5673} HTTP_PORT=${HTTP_PORT:-15673} REDIS_PORT=${REDIS_PORT:-6380}
export SUITES=${SUITES:-$top/build/compat} PY=${PY:-$top/.venv/bin/python}
mkdir -p "$SUITES"; rm -rf "$SUITES/data"
"$top/.venv/bin/mansio" serve --port "$AMQP_PORT" --redis-port "$REDIS_PORT" --zmq-port 0 --data-dir "$SUITES/data" >"$SUITES/broker.log" 2>&1 & broker=$!
"$top/.venv/bin/python" "$here/cleanup_api.py" "$HTTP_PORT" "$AMQP_PORT" >"$SUITES/api.log" 2>&1 & api=$!
trap 'kill $broker $api 2>/dev/null' EXIT
for i in 1 2 3 4 5 6 7 8 9 10; do grep -q "listening on" "$SUITES/broker.log" && break; sleep 0.2; done
failed=0
for suite in "${@:-amqp rabbitpy kombu-amqp aiormq amqpstorm dramatiq aio-pika redis-py celery}"; do
  for s in $suite; do
    unset DESELECT
    # Its management part and web_based need the HTTP API, which Mansio does not have yet.
    [ "$s" = amqpstorm ] && export DESELECT="--ignore amqpstorm/tests/functional/management --ignore amqpstorm/tests/functional/test_web_based.py"
    bash "$here/$s.sh" >"$SUITES/$s.txt" 2>&1; line=$(tail -1 "$SUITES/$s.txt"); echo "$line"
    case "$line" in *" 0 failed"*) ;; *) failed=1;; esac
  done
done
exit $failed
