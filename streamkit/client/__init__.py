"""The batch-level client, and the public producer, consumer and admin on top of it.

Names are loaded on first use: a worker needs no producer, and starts sooner without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.client.admin import Admin as Admin
    from streamkit.client.admin_cluster import ClusterDescription as ClusterDescription
    from streamkit.client.admin_cluster import ElectionType as ElectionType
    from streamkit.client.admin_cluster import Features as Features
    from streamkit.client.admin_cluster import FeatureUpdate as FeatureUpdate
    from streamkit.client.admin_cluster import FeatureUpgrade as FeatureUpgrade
    from streamkit.client.admin_cluster import LogDirectory as LogDirectory
    from streamkit.client.admin_configs import AlterOperation as AlterOperation
    from streamkit.client.admin_configs import ConfigEntry as ConfigEntry
    from streamkit.client.admin_configs import Resource as Resource
    from streamkit.client.admin_configs import ResourceType as ResourceType
    from streamkit.client.admin_topics import NewTopic as NewTopic
    from streamkit.client.admin_transactions import ProducerState as ProducerState
    from streamkit.client.admin_transactions import TransactionDescription as TransactionDescription
    from streamkit.client.admin_transactions import TransactionListing as TransactionListing
    from streamkit.client.blocking import BlockingConsumer as BlockingConsumer
    from streamkit.client.blocking import BlockingProducer as BlockingProducer
    from streamkit.client.blocking_admin import BlockingAdmin as BlockingAdmin
    from streamkit.client.closing import CloseOptions as CloseOptions
    from streamkit.client.closing import GroupMembership as GroupMembership
    from streamkit.client.consumer import Consumer as Consumer
    from streamkit.client.errors import LogTruncationError as LogTruncationError
    from streamkit.client.errors import OffsetOutOfRangeError as OffsetOutOfRangeError
    from streamkit.client.errors import UnknownTopicError as UnknownTopicError
    from streamkit.client.group_descriptions import GroupDescription as GroupDescription
    from streamkit.client.group_descriptions import MemberDescription as MemberDescription
    from streamkit.client.groups import GroupListing as GroupListing
    from streamkit.client.offsets import CommittedOffset as CommittedOffset
    from streamkit.client.offsets import ConsumerGroupMetadata as ConsumerGroupMetadata
    from streamkit.client.producer import Producer as Producer
    from streamkit.client.records import ConsumedBatch as ConsumedBatch
    from streamkit.client.records import ConsumerRecord as ConsumerRecord
    from streamkit.client.records import RecordMetadata as RecordMetadata
    from streamkit.client.shared import RebalanceListener as RebalanceListener
    from streamkit.common.model import TopicPartition as TopicPartition

_PLACES = {
    "Admin": "admin",
    "AlterOperation": "admin_configs",
    "BlockingAdmin": "blocking_admin",
    "BlockingConsumer": "blocking",
    "BlockingProducer": "blocking",
    "CloseOptions": "closing",
    "ClusterDescription": "admin_cluster",
    "CommittedOffset": "offsets",
    "ConfigEntry": "admin_configs",
    "ConsumedBatch": "records",
    "Consumer": "consumer",
    "ConsumerGroupMetadata": "offsets",
    "ConsumerRecord": "records",
    "ElectionType": "admin_cluster",
    "FeatureUpdate": "admin_cluster",
    "FeatureUpgrade": "admin_cluster",
    "Features": "admin_cluster",
    "GroupDescription": "group_descriptions",
    "GroupListing": "groups",
    "GroupMembership": "closing",
    "LogDirectory": "admin_cluster",
    "LogTruncationError": "errors",
    "MemberDescription": "group_descriptions",
    "NewTopic": "admin_topics",
    "OffsetOutOfRangeError": "errors",
    "Producer": "producer",
    "ProducerState": "admin_transactions",
    "RebalanceListener": "shared",
    "RecordMetadata": "records",
    "Resource": "admin_configs",
    "ResourceType": "admin_configs",
    "TopicPartition": "records",
    "TransactionDescription": "admin_transactions",
    "TransactionListing": "admin_transactions",
    "UnknownTopicError": "errors",
}

__all__ = [
    "Admin",
    "AlterOperation",
    "BlockingAdmin",
    "BlockingConsumer",
    "BlockingProducer",
    "CloseOptions",
    "ClusterDescription",
    "CommittedOffset",
    "ConfigEntry",
    "ConsumedBatch",
    "Consumer",
    "ConsumerGroupMetadata",
    "ConsumerRecord",
    "ElectionType",
    "FeatureUpdate",
    "FeatureUpgrade",
    "Features",
    "GroupDescription",
    "GroupListing",
    "GroupMembership",
    "LogDirectory",
    "LogTruncationError",
    "MemberDescription",
    "NewTopic",
    "OffsetOutOfRangeError",
    "Producer",
    "ProducerState",
    "RebalanceListener",
    "RecordMetadata",
    "Resource",
    "ResourceType",
    "TopicPartition",
    "TransactionDescription",
    "TransactionListing",
    "UnknownTopicError",
]


def __getattr__(name: str) -> object:
    """Load a public name on its first use (PEP 562)."""
    import importlib

    if name not in _PLACES:
        raise AttributeError(f"module 'streamkit.client' has no attribute {name!r}")
    found: object = getattr(importlib.import_module(f"streamkit.client.{_PLACES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
