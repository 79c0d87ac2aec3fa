"""What a task must know before it starts: committed positions, changelogs, partition counts."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from uuid import UUID

from streamkit.client.admin import Admin, Resource, ResourceType
from streamkit.client.client import Client
from streamkit.client.metadata import NO_ID
from streamkit.client.offsets import (
    CommittedOffset,
    Membership,
    Offsets,
)
from streamkit.common.errors import FatalError
from streamkit.common.model import TopicPartition
from streamkit.state.restore import ChangelogBounds
from streamkit.tasks.messages import PrepareTask, StartPosition, TaskPrepared
from streamkit.tasks.offset_metadata import decode_metadata
from streamkit.topology.offset_resets import EARLIEST, age_ms_of

log = logging.getLogger(__name__)

TOPIC_WAIT_MS = 15_000
"""How long a topic may be missing before the task gives up."""

TOPIC_RETRY_MS = 200


class Lookups:
    """Answers `PrepareTask` for the tasks of one group."""

    def __init__(
        self,
        client: Client,
        offsets: Offsets,
        group_id: str,
        *,
        reads_committed: bool = False,
        default_reset: str = EARLIEST,
    ) -> None:
        self._reads_committed = reads_committed
        self._default_reset = default_reset
        self._client = client
        self._offsets = offsets
        self._group_id = group_id
        self._watched: dict[str, None] = {}

    async def prepare(self, task: PrepareTask) -> TaskPrepared:
        """Look everything up. Raises FatalError for a topic that does not exist."""
        inputs = tuple(tp.topic for tp in task.inputs)
        counts = await self.partition_counts((*inputs, *task.topics))
        # The changelog's end is read after the committed offsets, so that it covers what the
        # task's last owner wrote before it committed: the high watermark, since the last stable
        # offset would miss a committed transaction whose markers are still on their way.
        committed = await self._offsets.fetch(
            Membership(self._group_id), task.inputs, require_stable=True
        )
        return TaskPrepared(
            task.task_id,
            await self._positions(task, committed),
            await self._changelogs(task.changelogs),
            counts,
            task.number,
        )

    async def globals(self, topics: tuple[str, ...]) -> dict[TopicPartition, ChangelogBounds]:
        """Where every partition of these topics begins and ends."""
        counts = await self.partition_counts(topics)
        tps = tuple(
            TopicPartition(topic, number)
            for topic, count in counts.items()
            for number in range(count)
        )
        starts = await self._offsets.start_offsets(tps)
        ends = await self._offsets.end_offsets(tps, read_committed=self._reads_committed)
        return {tp: ChangelogBounds(self._topic_id(tp.topic), starts[tp], ends[tp]) for tp in tps}

    async def bounds(self, tp: TopicPartition) -> tuple[int, int, UUID]:
        """Where a partition's log begins and ends, and its topic id."""
        starts = await self._offsets.start_offsets([tp])
        ends = await self._offsets.end_offsets([tp])
        return starts[tp], ends[tp], self._topic_id(tp.topic)

    async def record_bytes_max(self, topic: str) -> int | None:
        """The largest batch that a topic takes, by its configuration."""
        key = "max.message.bytes"
        resource = Resource(ResourceType.TOPIC, topic)
        entry = (await Admin.of(self._client).describe_configs(resource, [key])).get(key)
        return None if entry is None or entry.value is None else int(entry.value)

    async def partition_counts(self, topics: Iterable[str]) -> dict[str, int]:
        """How many partitions each topic has. Raises FatalError for one that does not turn up."""
        wanted = tuple(dict.fromkeys(topics))
        # A topic of interest is kept in the view, and made if the cluster makes topics by itself.
        self._client.metadata.watch(topic for topic in wanted if topic not in self._watched)
        self._watched.update(dict.fromkeys(wanted))
        clock = self._client.seams.clock
        deadline = clock.monotonic_ms() + TOPIC_WAIT_MS
        while True:
            view = await self._client.metadata.refresh(wanted)
            missing = [topic for topic in wanted if topic not in view.topics]
            if not missing:
                return {topic: len(view.topics[topic].partitions) for topic in wanted}
            if clock.monotonic_ms() >= deadline:
                why = view.errors.get(missing[0])
                raise FatalError(
                    f"topic {missing[0]} does not exist and the cluster did not make it "
                    f"({why.name if why is not None else 'unknown'}); make it first"
                )
            await asyncio.sleep(TOPIC_RETRY_MS / 1000)

    async def _positions(
        self, task: PrepareTask, committed: Mapping[TopicPartition, CommittedOffset]
    ) -> dict[TopicPartition, StartPosition]:
        ends = await self._offsets.end_offsets(task.inputs, read_committed=self._reads_committed)
        starts = await self._offsets.start_offsets(task.inputs)
        resets = {
            tp: task.resets.get(tp.topic, self._default_reset)
            for tp in task.inputs
            if tp not in committed
        }
        by_time = await self._offsets_by_age(resets)
        positions = {}
        for tp in task.inputs:
            end = ends[tp]
            if tp in committed:
                found = committed[tp]
                known = decode_metadata(found.metadata)
                positions[tp] = StartPosition(
                    found.offset, end, known.partition_time, known.processors
                )
                continue
            if resets[tp] == "none":
                raise FatalError(
                    f"{tp} has no committed offset, and its offset_reset is none: say earliest or "
                    "latest, or commit an offset with `streamkit groups reset`"
                )
            first = by_time.get(tp, end if resets[tp] == "latest" else starts[tp])
            positions[tp] = StartPosition(first if first >= 0 else end, end)
        return positions

    async def _offsets_by_age(
        self, resets: Mapping[TopicPartition, str]
    ) -> dict[TopicPartition, int]:
        """The first offsets that are young enough, where that is what counts; -1 for none."""
        now_ms = self._client.seams.clock.now_ms()
        times = {
            tp: max(now_ms - age_ms, 0)
            for tp, reset in resets.items()
            if (age_ms := age_ms_of(reset)) is not None
        }
        listed = await self._offsets.list_offsets(times) if times else {}
        return {tp: answer.offset for tp, answer in listed.items()}

    async def _changelogs(
        self, changelogs: tuple[TopicPartition, ...]
    ) -> dict[TopicPartition, ChangelogBounds]:
        if not changelogs:
            return {}
        starts = await self._offsets.start_offsets(changelogs)
        ends = await self._offsets.end_offsets(changelogs)
        return {
            tp: ChangelogBounds(self._topic_id(tp.topic), starts[tp], ends[tp]) for tp in changelogs
        }

    def _topic_id(self, topic: str) -> UUID:
        return self._client.view.topic_id(topic) or NO_ID
