"""ElectLeaders: on one node a partition has its leader, or none that could be elected."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.image import MetadataImage
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.elect_leaders.v2.request import ElectLeadersRequest

PREFERRED, UNCLEAN = 0, 1
NOT_NEEDED = ErrorCode.election_not_needed

Values = dict[str, object]


async def handle(ctx: RequestContext, request: ElectLeadersRequest) -> Message:
    """Answer each partition; of all partitions only those that would need an election."""
    image = ctx.broker.metadata.image
    kind = request.election_type
    is_known = kind in {PREFERRED, UNCLEAN}
    if request.topic_partitions is None:
        asked = [(name, sorted(topic.partitions)) for name, topic in image.topics.items()]
        results = [_topic(image, kind, name, at, is_all=True) for name, at in asked if is_known]
    else:
        results = [
            _topic(image, kind, each.topic, each.partitions, is_all=False)
            for each in request.topic_partitions
        ]
    code = ErrorCode.none if is_known else ErrorCode.invalid_request
    return {"error_code": code, "replica_election_results": results}


def _topic(
    image: MetadataImage, kind: int, name: str, indexes: Iterable[int], *, is_all: bool
) -> Values:
    rows = [(index, *_outcome(image, kind, name, index)) for index in indexes]
    return {
        "topic": name,
        "partition_result": [
            {"partition_id": index, "error_code": code, "error_message": message}
            for index, code, message in rows
            if not (is_all and code is NOT_NEEDED)
        ],
    }


def _outcome(image: MetadataImage, kind: int, name: str, index: int) -> tuple[ErrorCode, str]:
    if kind not in {PREFERRED, UNCLEAN}:
        return ErrorCode.invalid_request, f"there is no election of type {kind}"
    topic = image.topics.get(name)
    partition = None if topic is None else topic.partitions.get(index)
    if partition is None:
        return ErrorCode.unknown_topic_or_partition, f"there is no partition {name}-{index}"
    if partition.leader >= 0 and (kind == UNCLEAN or partition.leader == partition.replicas[0]):
        return NOT_NEEDED, "the partition has its leader"
    if kind == UNCLEAN:
        return ErrorCode.eligible_leaders_not_available, "no replica can lead"
    return ErrorCode.preferred_leader_not_available, "the preferred replica cannot lead"
