"""The operators' endpoint of a node: metrics, health, readiness, and how late its loop is.

It listens before the logs are recovered, so that a node that takes long to start is seen to live.
A node is ready while it answers requests. It is unhealthy when logs are offline: only a start,
which recovers them, brings them back.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable

from streamkit.broker.context import BrokerParts
from streamkit.broker.metrics import BrokerMetrics
from streamkit.broker.metrics_view import NodeView
from streamkit.broker.replicas import Replicas
from streamkit.common.errors import UsageError
from streamkit.common.http import HttpServer, operator_routes, parse_address
from streamkit.common.process_metrics import process_families
from streamkit.common.sampled import Sampled
from streamkit.common.seams import Clock, Seams

TICK_MS = 100.0
"""How often the loop's lateness is measured: a stall of this length or more is always seen."""


class OperatorEndpoint:
    """The HTTP server of one node."""

    def __init__(self, address: str, seams: Seams, metrics: BrokerMetrics) -> None:
        self._address = address
        self._seams = seams
        self._registry = metrics.registry
        self._replicas: Replicas | None = None
        self._server = HttpServer(
            seams.network, operator_routes(metrics.registry, self.problem, self.unready)
        )

    async def start(self) -> None:
        """Listen. Raises UsageError when that cannot be."""
        host, port = parse_address(self._address)
        try:
            await self._server.start(host, port)
        except OSError as error:
            raise UsageError(
                f"metrics.listener cannot listen on {self._address}: {error.strerror or error}"
            ) from None

    @property
    def port(self) -> int:
        """The port that it listens at."""
        return self._server.port

    def serve(self, parts: BrokerParts, connections: Callable[[], int]) -> None:
        """From now on the node is ready, and its parts are shown."""
        self._replicas = parts.replicas
        self._registry.add_collector(NodeView(parts, connections))
        self._registry.add_collector(process_families(self._seams.disk))

    async def close(self) -> None:
        """Stop listening."""
        await self._server.close()

    def problem(self) -> str | None:
        """Why the node should be started anew."""
        offline = [str(each) for each in self._replicas or () if each.is_offline]
        return f"logs are offline: {', '.join(sorted(offline))}" if offline else None

    def unready(self) -> str | None:
        """Why the node should not be sent requests."""
        return "the broker is starting" if self._replicas is None else None


class LoopWatch:
    """How late the event loop looks at its timers."""

    def __init__(self, clock: Clock, metrics: BrokerMetrics) -> None:
        self._clock = clock
        self._late = Sampled(clock.monotonic_ms())
        self._lateness = metrics.registry.distribution(
            "streamkit_eventloop_lateness_ms", "How late the event loop looked at a timer."
        )
        metrics.registry.gauge_of(
            "streamkit_eventloop_stall_ms_max",
            "The longest that the event loop was late within the last minute.",
            self.worst_ms,
        )

    def worst_ms(self) -> float:
        """The worst of the last minute; 0 before the first tick."""
        worst = self._late.maximum(self._clock.monotonic_ms())
        return 0.0 if math.isnan(worst) else worst

    async def run(self) -> None:
        """Measure until cancelled."""
        while True:
            due_ms = self._clock.monotonic_ms() + TICK_MS
            await asyncio.sleep(TICK_MS / 1000)
            now_ms = self._clock.monotonic_ms()
            late_ms = max(0.0, now_ms - due_ms)
            self._late.observe(late_ms, now_ms)
            self._lateness.observe(late_ms)
