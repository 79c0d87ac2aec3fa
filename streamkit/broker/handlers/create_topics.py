"""CreateTopics: make topics, or only check whether they could be made."""

from __future__ import annotations

from typing import TYPE_CHECKING

from streamkit.broker.config_view import ConfigEntry, topic_entries
from streamkit.broker.context import RequestContext
from streamkit.broker.kraft.controller.topics import CreatedTopic, NewTopic
from streamkit.protocol.errors import ApiError
from streamkit.protocol.messages import Message

if TYPE_CHECKING:
    from kio.schema.create_topics.v7.request import CreatableTopic, CreateTopicsRequest

Values = dict[str, object]


async def handle(ctx: RequestContext, request: CreateTopicsRequest) -> Message:
    """Answer each topic with its own result."""
    topics = [_new_topic(each) for each in request.topics]
    try:
        created = await ctx.broker.metadata.create_topics(
            topics, validate_only=request.validate_only
        )
    except ApiError as error:
        return {
            "topics": [
                {"name": each.name, "error_code": error.code, "error_message": error.message}
                for each in topics
            ]
        }
    return {"topics": [_result(ctx, each) for each in created]}


def _new_topic(asked: CreatableTopic) -> NewTopic:
    return NewTopic(
        str(asked.name),
        asked.num_partitions,
        asked.replication_factor,
        tuple((each.partition_index, tuple(each.broker_ids)) for each in asked.assignments),
        tuple((each.name, each.value) for each in asked.configs),
    )


def _result(ctx: RequestContext, created: CreatedTopic) -> Values:
    values: Values = {
        "name": created.name,
        "topic_id": created.topic_id,
        "error_code": created.result.code,
        "error_message": created.result.message,
        "configs": None,
    }
    if created.result.is_ok:
        values |= {
            "num_partitions": created.partitions,
            "replication_factor": created.replication_factor,
            "configs": [
                _config(entry)
                for entry in topic_entries(created.configs, ctx.broker.metadata.broker_layers())
            ],
        }
    return values


def _config(entry: ConfigEntry) -> Values:
    return {
        "name": entry.key.name,
        "value": entry.value,
        "read_only": entry.is_read_only,
        "config_source": int(entry.source),
        "is_sensitive": entry.key.is_sensitive,
    }
