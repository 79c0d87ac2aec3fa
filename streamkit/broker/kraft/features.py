"""Which feature levels this broker supports, and which it finalizes at a new format.

One table. A feature's upper bound is what is served: share groups and eligible leader replicas are
not yet, so their level is 0 and clients are told so in ApiVersions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

METADATA_VERSION = "metadata.version"
KRAFT_VERSION = "kraft.version"
TRANSACTION_VERSION = "transaction.version"
GROUP_VERSION = "group.version"

METADATA_VERSION_MIN = 7
"""3.3-IV3, the first with KRaft for all."""
METADATA_VERSION_LATEST = 30
"""4.3-IV0."""
GROUP_VERSION_LATEST = 1
"""Consumer groups (KIP-848)."""
KRAFT_VERSION_LATEST = 1
"""Dynamic quorums (KIP-853)."""
TRANSACTION_VERSION_LATEST = 2
"""A new epoch for each transaction (KIP-890)."""


@dataclass(frozen=True, slots=True)
class Feature:
    """The range of levels that are served, and the one that a new cluster gets."""

    low: int
    high: int
    initial: int


FEATURES: Mapping[str, Feature] = MappingProxyType(
    {
        METADATA_VERSION: Feature(
            METADATA_VERSION_MIN, METADATA_VERSION_LATEST, METADATA_VERSION_LATEST
        ),
        KRAFT_VERSION: Feature(0, KRAFT_VERSION_LATEST, KRAFT_VERSION_LATEST),
        "eligible.leader.replicas.version": Feature(0, 0, 0),
        GROUP_VERSION: Feature(0, GROUP_VERSION_LATEST, GROUP_VERSION_LATEST),
        "share.version": Feature(0, 0, 0),
        "streams.version": Feature(0, 1, 1),
        TRANSACTION_VERSION: Feature(0, TRANSACTION_VERSION_LATEST, TRANSACTION_VERSION_LATEST),
    }
)
"""Every feature of Kafka 4.3."""


def supported_features() -> dict[str, tuple[int, int]]:
    """Lowest and highest level by feature, without those that only have level 0."""
    return {
        name: (feature.low, feature.high) for name, feature in FEATURES.items() if feature.high > 0
    }


def initial_levels() -> dict[str, int]:
    """What a new cluster finalizes by record; kraft.version is a control record instead."""
    return {
        name: feature.initial
        for name, feature in FEATURES.items()
        if feature.initial > 0 and name != KRAFT_VERSION
    }
