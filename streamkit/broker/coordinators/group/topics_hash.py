"""The hash by which a group sees that its topics have changed (KIP-1101)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

from streamkit.broker.coordinators.seams import TopicsView


def topics_hash(names: Iterable[str], topics: TopicsView) -> int:
    """A signed 64-bit hash of id, name, partition count and racks; 0 when no topic is there."""
    digest = hashlib.blake2b(digest_size=8)
    found = False
    for name in sorted(names):
        count = topics.partition_count(name)
        if count is None:
            continue
        found = True
        racks = [list(each) for each in topics.partition_racks(name)]
        digest.update(repr((name, str(topics.topic_id(name)), count, racks)).encode())
    # Kafka's hash of no topics is 0, and so is that of a new group: nothing changed.
    return int.from_bytes(digest.digest(), "big", signed=True) if found else 0
