"""The batch-level client, and the public producer, consumer and admin on top of it."""

from streamkit.client.admin import (
    Admin,
    AlterOperation,
    ConfigEntry,
    NewTopic,
    Resource,
    ResourceType,
)
from streamkit.client.blocking import BlockingAdmin, BlockingConsumer, BlockingProducer
from streamkit.client.closing import CloseOptions, GroupMembership
from streamkit.client.consumer import Consumer
from streamkit.client.producer import Producer
from streamkit.client.records import ConsumedBatch, ConsumerRecord, RecordMetadata
from streamkit.common.model import TopicPartition

__all__ = [
    "Admin",
    "AlterOperation",
    "BlockingAdmin",
    "BlockingConsumer",
    "BlockingProducer",
    "CloseOptions",
    "ConfigEntry",
    "ConsumedBatch",
    "Consumer",
    "ConsumerRecord",
    "GroupMembership",
    "NewTopic",
    "Producer",
    "RecordMetadata",
    "Resource",
    "ResourceType",
    "TopicPartition",
]
