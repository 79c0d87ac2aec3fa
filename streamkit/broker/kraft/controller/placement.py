"""Where the replicas of new partitions go: striped over racks and brokers (StripedReplicaPlacer).

Consecutive partitions begin one broker further, and the replicas of one partition lie on
different racks while there are enough. Fenced brokers are taken only where the usable ones do
not suffice, and never first.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import zip_longest
from uuid import UUID

from streamkit.broker.kraft.image import UNASSIGNED_DIRECTORY, BrokerImage, MetadataImage
from streamkit.protocol.errors import ApiError, ErrorCode


def place_replicas(
    image: MetadataImage, count: int, replication_factor: int, start: int
) -> list[tuple[int, ...]]:
    """Replica lists for `count` new partitions; `start` shifts where the stripe begins.

    Raises ApiError INVALID_REPLICATION_FACTOR when there are too few brokers.
    """
    brokers = [image.brokers[each] for each in sorted(image.brokers)]
    usable = _interleaved([each for each in brokers if each.is_usable])
    fenced = _interleaved([each for each in brokers if not each.is_usable])
    _check_enough(len(usable), len(brokers), replication_factor)
    return [
        _rotated(usable, start + index)[:replication_factor]
        + _rotated(fenced, start + index)[: max(0, replication_factor - len(usable))]
        for index in range(count)
    ]


def directories_of(image: MetadataImage, replicas: Sequence[int]) -> tuple[UUID | None, ...]:
    """The log directory of each replica: known when the broker has one, else its own choice."""
    return tuple(_default_directory(image.brokers.get(each)) for each in replicas)


def _default_directory(broker: BrokerImage | None) -> UUID | None:
    if broker is None or len(broker.directories) != 1:
        return UNASSIGNED_DIRECTORY
    return broker.directories[0]


def _interleaved(brokers: Sequence[BrokerImage]) -> tuple[int, ...]:
    """Broker ids with the racks taking turns."""
    racks: dict[str, list[int]] = {}
    for broker in brokers:
        racks.setdefault(broker.rack or "", []).append(broker.id)
    columns = zip_longest(*(racks[rack] for rack in sorted(racks)))
    return tuple(each for column in columns for each in column if each is not None)


def _rotated(ids: tuple[int, ...], by: int) -> tuple[int, ...]:
    split = by % len(ids) if ids else 0
    return ids[split:] + ids[:split]


def _check_enough(usable: int, registered: int, replication_factor: int) -> None:
    problem = None
    if usable == 0:
        problem = "all brokers are currently fenced or in controlled shutdown"
    elif registered < replication_factor:
        problem = f"only {registered} broker(s) are registered"
    if problem is not None:
        raise ApiError(
            ErrorCode.invalid_replication_factor,
            f"unable to replicate the partition {replication_factor} time(s): {problem}",
        )
