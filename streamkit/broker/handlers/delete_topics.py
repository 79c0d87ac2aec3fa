"""DeleteTopics: by name, or from version 6 by name or id."""

from __future__ import annotations

from uuid import UUID

from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.results import ItemResult
from streamkit.broker.kraft.controller.topics import DeletedTopic, delete_topics
from streamkit.protocol.apis import ApiKey
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message, response_type
from streamkit.protocol.versions import fill

IDS_SINCE = 6
MESSAGES_SINCE = 5


async def handle(ctx: RequestContext, request: Message) -> Message:
    """Answer each topic with its own result."""
    version = ctx.api_version
    asked: list[tuple[str | None, UUID | None]]
    if version >= IDS_SINCE:
        asked = [(each.name, each.topic_id) for each in request.topics]
    else:
        asked = [(name, None) for name in request.topic_names]
    is_enabled = ctx.broker.settings.delete_topic_enable
    try:
        deleted = await ctx.broker.metadata.change(
            lambda image: delete_topics(image, asked, is_enabled=is_enabled)
        )
    except ApiError as error:
        result = ItemResult.of(error)
        deleted = tuple(DeletedTopic(name, topic_id, result) for name, topic_id in asked)
    responses = [_response(each, version) for each in deleted]
    return fill(response_type(ApiKey.DELETE_TOPICS, version), {"responses": responses})


def _response(deleted: DeletedTopic, version: int) -> dict[str, object]:
    values: dict[str, object] = {"name": deleted.name, "error_code": deleted.result.code}
    if version >= MESSAGES_SINCE:
        values["error_message"] = deleted.result.message
    if version >= IDS_SINCE:
        values["topic_id"] = deleted.topic_id
    return values
