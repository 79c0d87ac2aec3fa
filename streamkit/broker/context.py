"""What a request handler gets: the broker's parts, and who asks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from streamkit.broker.fetch_sessions import FetchSessions
from streamkit.broker.metrics import BrokerMetrics
from streamkit.broker.settings import BrokerSettings
from streamkit.common.seams import Seams

if TYPE_CHECKING:
    from streamkit.broker.coordination import Elections
    from streamkit.broker.coordinators.group.coordinator import GroupCoordinator
    from streamkit.broker.coordinators.transaction.coordinator import TransactionCoordinator
    from streamkit.broker.markers import MarkerWriter
    from streamkit.broker.metadata import ClusterMetadata
    from streamkit.broker.replicas import Replicas
    from streamkit.broker.verification import TransactionVerifier


def _nothing() -> int:
    return 0


@dataclass(slots=True)
class BrokerParts:
    """The parts of one running node that handlers use."""

    settings: BrokerSettings
    seams: Seams
    cluster_id: str
    metadata: ClusterMetadata
    replicas: Replicas
    groups: GroupCoordinator
    elections: Elections
    transactions: TransactionCoordinator
    transaction_elections: Elections
    verifier: TransactionVerifier
    markers: MarkerWriter
    fetch_sessions: FetchSessions
    metrics: BrokerMetrics
    unsent_bytes: Callable[[], int] = _nothing
    """How many bytes of answers peers are slow to take."""


@dataclass(slots=True)
class RequestContext:
    """One request's surroundings; `waited_ms` of it were spent in purgatory."""

    broker: BrokerParts
    api_version: int
    client_id: str
    client_host: str
    waited_ms: float = 0.0
