"""DescribeCluster: the brokers, the cluster id and a controller to turn to."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.describe_cluster.v2.request import DescribeClusterRequest

BROKERS = 1
CONTROLLERS = 2


async def handle(ctx: RequestContext, request: DescribeClusterRequest) -> Message:
    """Describe the brokers; a broker's listener does not tell about controllers."""
    if request.endpoint_type != BROKERS:
        mismatched = request.endpoint_type == CONTROLLERS
        return {
            "error_code": ErrorCode.mismatched_endpoint_type
            if mismatched
            else ErrorCode.unsupported_endpoint_type,
            "error_message": "this listener belongs to a broker",
            "cluster_id": ctx.broker.cluster_id,
        }
    brokers = ctx.broker.metadata.brokers(include_fenced=request.include_fenced_brokers)
    return {
        "endpoint_type": BROKERS,
        "cluster_id": ctx.broker.cluster_id,
        "controller_id": next((each.id for each in brokers if not each.is_fenced), -1),
        "brokers": [
            {
                "broker_id": each.id,
                "host": each.host,
                "port": each.port,
                "rack": each.rack,
                "is_fenced": each.is_fenced,
            }
            for each in brokers
        ],
    }
