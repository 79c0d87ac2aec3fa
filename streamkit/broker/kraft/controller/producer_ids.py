"""Producer ids are given out in blocks of 1000 (AllocateProducerIds, ProducerIdControlManager)."""

from __future__ import annotations

from dataclasses import dataclass

from streamkit.broker.kraft.controller.brokers import check_broker_epoch
from streamkit.broker.kraft.controller.results import Outcome
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.records import ProducerIdsRecord
from streamkit.protocol.errors import ApiError, ErrorCode

PRODUCER_ID_BLOCK_SIZE = 1000
_LAST_PRODUCER_ID = 2**63 - 1


@dataclass(frozen=True, slots=True)
class ProducerIdBlock:
    """`count` producer ids from `first` on."""

    first: int
    count: int = PRODUCER_ID_BLOCK_SIZE


def allocate_producer_ids(
    image: MetadataImage, broker_id: int, broker_epoch: int
) -> Outcome[ProducerIdBlock]:
    """The next block. Raises ApiError when the broker is unknown or its epoch is stale."""
    check_broker_epoch(image, broker_id, broker_epoch)
    first = image.next_producer_id
    if first > _LAST_PRODUCER_ID - PRODUCER_ID_BLOCK_SIZE:
        raise ApiError(ErrorCode.unknown_server_error, "all producer ids are used up")
    record = ProducerIdsRecord(
        broker_id=broker_id,
        broker_epoch=broker_epoch,
        next_producer_id=first + PRODUCER_ID_BLOCK_SIZE,
    )
    return Outcome((record,), ProducerIdBlock(first))
