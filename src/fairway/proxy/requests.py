"""What the proxy asks of the API server, under the names of client-go, which dashboards and alerts know.

Its metrics of a rate limiter, of retries and of plugins for credentials have nothing to tell: this client has none.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from prometheus_client import CollectorRegistry, Counter, Histogram

from fairway.client.observed import Exchange

_SECONDS = (0.005, 0.025, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0, 60.0)
_BYTES = (64, 256, 512, 1024, 4096, 16384, 65536, 262144, 1048576, 4194304, 16777216)
_NO_ANSWER = "<error>"


class Requests:
    """Counts what an `ObservedTransport` tells; call it with each exchange."""

    def __init__(self, registry: CollectorRegistry) -> None:
        def sizes(name: str, text: str, buckets: tuple[float, ...]) -> Histogram:
            return Histogram(f"rest_client_{name}", text, ["verb", "host"], buckets=buckets, registry=registry)

        self._requests = Counter(
            "rest_client_requests_total",
            "Requests to the API server, watches too, by answer",
            ["code", "method", "host"],
            registry=registry,
        )
        self._seconds = sizes("request_duration_seconds", "Time until the whole answer was there", _SECONDS)
        self._sent = sizes("request_size_bytes", "What was sent, without headers", _BYTES)
        self._received = sizes("response_size_bytes", "What was answered, without headers", _BYTES)

    def __call__(self, exchange: Exchange) -> None:
        host = urlsplit(exchange.server).netloc or exchange.server
        code = _NO_ANSWER if exchange.status is None else str(exchange.status)
        self._requests.labels(code, exchange.method, host).inc()
        if (whole := exchange.answered) is not None:
            self._seconds.labels(exchange.method, host).observe(whole.seconds)
            self._sent.labels(exchange.method, host).observe(whole.sent)
            self._received.labels(exchange.method, host).observe(whole.received)
