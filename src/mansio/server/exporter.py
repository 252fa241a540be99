"""Metrics for Prometheus over HTTP, at /metrics. Imported only when they are asked for: it costs 60 ms and 6 MiB."""

from collections.abc import Iterator, Mapping
from math import inf
from socketserver import StreamRequestHandler
from typing import Final, cast

from prometheus_client import CollectorRegistry, ProcessCollector, start_http_server
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    InfoMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.registry import Collector

from mansio.server.census import Census
from mansio.server.listeners import ListenError, explain
from mansio.server.metric_values import Distribution, Value
from mansio.server.metrics import METRICS, Metric, build_info, read
from mansio.server.turn import Turn

READ_TIMEOUT_S: Final = 10.0
"""A client of the HTTP server that says nothing keeps a thread for so long."""


class BrokerCollector(Collector):
    """Samples of the values that were read last; none of the broker before the first reading."""

    def __init__(self) -> None:
        self._census = Census()
        self._values: list[Value] = []

    def refresh(self, turn: Turn) -> None:
        """Reads all values again; to be called in the event loop's thread."""
        self._values = read(turn, self._census)

    def collect(self) -> Iterator[Family]:
        """As Collector.collect; in whichever thread answers a client."""
        yield InfoMetricFamily("mansio_build", "What runs.", value=build_info())
        for metric, value in zip(METRICS, self._values, strict=False):
            if value is not None:
                yield _family(metric, value)


class Exporter(BrokerCollector):
    """The collector with its HTTP server, whose threads end with the process."""

    def __init__(self, host: str, port: int) -> None:
        """Listens at once. ListenError."""
        super().__init__()
        registry = CollectorRegistry()
        registry.register(self)
        ProcessCollector(registry=registry)
        try:
            server, _ = start_http_server(port, host.strip("[]"), registry)
        except OSError as error:
            fault = explain(error, host, port, "--metrics-port", "metrics_bind")
            raise ListenError(f"metrics: {fault}") from error
        handler = cast(type[StreamRequestHandler], server.RequestHandlerClass)
        handler.timeout = READ_TIMEOUT_S


def _family(metric: Metric, value: Value) -> Family:
    name = "mansio_" + metric.name
    if isinstance(value, Distribution):
        buckets = [
            ("+Inf" if bound == inf else str(bound), count) for bound, count in value.buckets
        ]
        return HistogramMetricFamily(name, metric.help, buckets, value.sum_s)
    kind = CounterMetricFamily if metric.kind == "counter" else GaugeMetricFamily
    if not isinstance(value, Mapping):
        return kind(name, metric.help, value)
    family = kind(name, metric.help, labels=[metric.label])
    for label, number in value.items():
        family.add_metric([label], number)
    return family
