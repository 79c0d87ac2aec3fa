"""Topics: create, list, describe, delete them, give them partitions, drop their old records."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

from streamkit.client.client import Client
from streamkit.client.draft import Draft
from streamkit.client.errors import error_for, raise_for
from streamkit.client.metadata import TopicView
from streamkit.common.errors import StreamkitError
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey

DEFAULT = -1
"""So many partitions or replicas as the broker's configuration says."""

DESCRIBE_TIMEOUT_MS = 5_000
"""A topic that was just created turns up within this time."""

_EXISTS = 36
_UNKNOWN_TOPIC = 3


@dataclass(frozen=True, slots=True)
class NewTopic:
    """A topic to create; `configs` by Kafka's names.

    `assignments` says by partition, from 0 on, on which brokers its replicas lie, the preferred
    leader first. The numbers of partitions and replicas follow from it, and stay DEFAULT then.
    """

    name: str
    partitions: int = DEFAULT
    replication_factor: int = DEFAULT
    configs: Mapping[str, str] = field(default_factory=dict)
    assignments: Mapping[int, Sequence[int]] = field(default_factory=dict)


class Topics:
    """Calls on topics; each retries until `default.api.timeout.ms`.

    await Topics(client).list(internal=False)
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def create(
        self, topics: Iterable[NewTopic], *, exist_ok: bool, validate_only: bool
    ) -> dict[str, UUID | None]:
        """Create topics; gives their ids. Raises TopicExistsError unless `exist_ok`."""
        wanted = list(topics)
        draft = Draft(
            ApiKey.CREATE_TOPICS,
            {
                "topics": [_new_topic(topic) for topic in wanted],
                "timeout": self._client.settings.request_timeout_ms,
                "validate_only": validate_only,
            },
        )

        def check(response: Any) -> None:
            for topic in response.topics:
                if exist_ok and topic.error_code == _EXISTS:
                    continue
                raise_for(topic.error_code, f"create topic {topic.name!r}", topic.error_message)

        response = await self._client.request(None, draft, check)
        if not validate_only:
            names = [topic.name for topic in wanted]
            await self._client.retrying(lambda: self._client.metadata.refresh(names))
        return {topic.name: topic.topic_id for topic in response.topics}

    async def delete(self, names: Iterable[str]) -> None:
        """Delete topics. Raises UnknownTopicError once the time is up, for those that are not."""
        gone = list(names)
        draft = Draft(
            ApiKey.DELETE_TOPICS,
            {
                "topics": [{"name": name, "topic_id": None} for name in gone],
                "topic_names": gone,
                "timeout": self._client.settings.request_timeout_ms,
            },
        )
        errors: list[StreamkitError] = []

        def check(response: Any) -> None:
            errors.clear()
            for answer in response.responses:
                if answer.error_code == _UNKNOWN_TOPIC:
                    # Waiting does not bring it back, so this is not retried.
                    errors.append(error_for(answer.error_code, f"delete topic {answer.name!r}"))
                else:
                    raise_for(answer.error_code, f"delete topic {answer.name!r}")

        await self._client.request(None, draft, check)
        await self._client.retrying(lambda: self._client.metadata.refresh(gone))
        if errors:
            raise errors[0]

    async def create_partitions(self, topic: str, count: int, *, validate_only: bool) -> None:
        """Give a topic more partitions: `count` in all. Raises UsageError for fewer."""
        fields = {
            "topics": [{"name": topic, "count": count, "assignments": None}],
            "timeout": self._client.settings.request_timeout_ms,
            "validate_only": validate_only,
        }

        def check(response: Any) -> None:
            for answer in response.results:
                what = f"{count} partitions for topic {answer.name!r}"
                raise_for(answer.error_code, what, answer.error_message)

        await self._client.request(None, Draft(ApiKey.CREATE_PARTITIONS, fields), check)
        await self._client.retrying(lambda: self._client.metadata.refresh([topic]))

    async def list(self, *, internal: bool) -> list[str]:
        """The names of all topics, sorted; Kafka's own only with `internal`."""
        view = await self._client.retrying(lambda: self._client.metadata.refresh(all_topics=True))
        return sorted(t.name for t in view.topics.values() if internal or not t.is_internal)

    async def describe(self, names: Iterable[str]) -> dict[str, TopicView]:
        """Partitions, leaders and ids of topics.

        Raises UnknownTopicError for one that does not turn up within a few tries.
        """
        wanted = list(names)

        async def attempt() -> dict[str, TopicView]:
            view = await self._client.metadata.refresh(wanted)
            for name in wanted:
                if name not in view.topics:
                    raise error_for(view.errors.get(name, _UNKNOWN_TOPIC), f"topic {name!r}")
            return {name: view.topics[name] for name in wanted}

        return await self._client.retrying(attempt, DESCRIBE_TIMEOUT_MS)

    async def delete_records(
        self, before: Mapping[TopicPartition, int]
    ) -> dict[TopicPartition, int]:
        """Delete records below these offsets (-1: all); gives where the logs begin now."""
        found: dict[TopicPartition, int] = {}

        async def attempt() -> dict[TopicPartition, int]:
            left = {tp: offset for tp, offset in before.items() if tp not in found}
            view = await self._client.metadata.refresh(tp.topic for tp in left)
            by_leader, missing = view.by_leader(left)
            for tp in missing:
                raise error_for(view.errors.get(tp.topic, _UNKNOWN_TOPIC), f"delete of {tp}")
            for leader in sorted(by_leader):
                asked = {tp: left[tp] for tp in by_leader[leader]}
                await self._delete_records_at(leader, asked, found)
            return found

        return await self._client.retrying(attempt)

    async def _delete_records_at(
        self,
        leader: int,
        before: Mapping[TopicPartition, int],
        found: dict[TopicPartition, int],
    ) -> None:
        topics: dict[str, list[dict[str, int]]] = {}
        for tp, offset in before.items():
            part = {"partition_index": tp.partition, "offset": offset}
            topics.setdefault(tp.topic, []).append(part)
        fields = {
            "topics": [{"name": name, "partitions": parts} for name, parts in topics.items()],
            "timeout": self._client.settings.request_timeout_ms,
        }
        response = await self._client.call(leader, Draft(ApiKey.DELETE_RECORDS, fields))
        for topic in response.topics:
            for answer in topic.partitions:
                tp = TopicPartition(topic.name, answer.partition_index)
                raise_for(answer.error_code, f"delete of {tp} below {before[tp]}")
                found[tp] = answer.low_watermark


def _new_topic(topic: NewTopic) -> dict[str, Any]:
    return {
        "name": topic.name,
        "num_partitions": topic.partitions,
        "replication_factor": topic.replication_factor,
        "assignments": [
            {"partition_index": index, "broker_ids": tuple(brokers)}
            for index, brokers in sorted(topic.assignments.items())
        ],
        "configs": [{"name": name, "value": value} for name, value in topic.configs.items()],
    }
