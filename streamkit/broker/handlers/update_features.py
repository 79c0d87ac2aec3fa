"""UpdateFeatures (KIP-584): change what the cluster has agreed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.features import FeatureUpdate, update_features
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.update_features.v2.request import UpdateFeaturesRequest


async def handle(ctx: RequestContext, request: UpdateFeaturesRequest) -> Message:
    """All updates or none."""
    updates = [
        FeatureUpdate(each.feature, each.max_version_level, each.upgrade_type)
        for each in request.feature_updates
    ]
    try:
        result = await ctx.broker.metadata.change(
            lambda image: update_features(image, updates, validate_only=request.validate_only)
        )
    except ApiError as error:
        return {"error_code": error.code, "error_message": error.message}
    return {
        "error_code": result.code,
        "error_message": result.message,
        "results": [
            {"feature": each.name, "error_code": result.code, "error_message": result.message}
            for each in updates
        ],
    }
