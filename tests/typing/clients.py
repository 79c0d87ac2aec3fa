"""A program on the plain clients whose types fit: mypy strict and pyright find nothing to say."""

from __future__ import annotations

from collections.abc import Sequence
from typing import assert_type

from streamkit.client import (
    Admin,
    BlockingAdmin,
    BlockingConsumer,
    CommittedOffset,
    Consumer,
    ConsumerGroupMetadata,
    ElectionType,
    Features,
    FeatureUpdate,
    FeatureUpgrade,
    GroupDescription,
    LogDirectory,
    LogTruncationError,
    NewTopic,
    Producer,
    ProducerState,
    Resource,
    ResourceType,
    TopicPartition,
    TransactionDescription,
)

TP = TopicPartition("orders", 2)
CONFIG = {"bootstrap.servers": "localhost:9092", "group.id": "shop"}


async def moves_records() -> None:
    async with Consumer(CONFIG) as consumer, Producer(CONFIG) as producer:
        consumer.assign({TP: CommittedOffset(7, leader_epoch=3)})
        consumer.seek(TP, 8)
        try:
            await consumer.poll(1000)
        except LogTruncationError as error:
            assert_type(error.divergent_offset, int | None)
        assert_type(consumer.group_metadata(), ConsumerGroupMetadata)
        await producer.send_offsets({TP: 8}, group=consumer.group_metadata())
        await producer.send_offsets({TP: CommittedOffset(8)}, group="shop", member_id="m")
        positions: dict[TopicPartition, int] = {TP: 8}
        await consumer.commit(positions)
        await consumer.commit({TP: CommittedOffset(9, metadata="text")})
        assert_type(await consumer.committed([TP]), dict[TopicPartition, int])
        assert_type(await consumer.committed_offsets([TP]), dict[TopicPartition, CommittedOffset])


async def administers() -> None:
    async with Admin(CONFIG) as admin:
        await admin.create_topics([NewTopic("orders", assignments={0: [1, 2]})])
        assert_type(await admin.describe_groups(["shop"]), dict[str, GroupDescription])
        await admin.alter_group_offsets("shop", await admin.list_group_offsets("shop"))
        assert_type(await admin.describe_log_dirs(), dict[int, list[LogDirectory]])
        assert_type(await admin.describe_features(), Features)
        await admin.update_features({"a.b": FeatureUpdate(1, FeatureUpgrade.SAFE_DOWNGRADE)})
        assert_type(await admin.elect_leaders(ElectionType.UNCLEAN), dict[TopicPartition, bool])
        assert_type(await admin.list_config_resources([ResourceType.GROUP]), list[Resource])
        producers = await admin.describe_producers([TP])
        assert_type(producers, dict[TopicPartition, Sequence[ProducerState]])
        described = await admin.describe_transactions(["mover"])
        assert_type(described, dict[str, TransactionDescription])


def blocks() -> None:
    with BlockingConsumer(CONFIG) as consumer, BlockingAdmin(CONFIG) as admin:
        assert_type(consumer.group_metadata(), ConsumerGroupMetadata)
        assert_type(admin.describe_groups(["shop"]), dict[str, GroupDescription])
