"""The batch-level client, and the public producer, consumer and admin on top of it.

Names are loaded on first use: a worker needs no producer, and starts sooner without.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from streamkit.client.admin import Admin as Admin
    from streamkit.client.admin import AlterOperation as AlterOperation
    from streamkit.client.admin import ConfigEntry as ConfigEntry
    from streamkit.client.admin import NewTopic as NewTopic
    from streamkit.client.admin import Resource as Resource
    from streamkit.client.admin import ResourceType as ResourceType
    from streamkit.client.blocking import BlockingAdmin as BlockingAdmin
    from streamkit.client.blocking import BlockingConsumer as BlockingConsumer
    from streamkit.client.blocking import BlockingProducer as BlockingProducer
    from streamkit.client.closing import CloseOptions as CloseOptions
    from streamkit.client.closing import GroupMembership as GroupMembership
    from streamkit.client.consumer import Consumer as Consumer
    from streamkit.client.producer import Producer as Producer
    from streamkit.client.records import ConsumedBatch as ConsumedBatch
    from streamkit.client.records import ConsumerRecord as ConsumerRecord
    from streamkit.client.records import RecordMetadata as RecordMetadata
    from streamkit.client.shared import RebalanceListener as RebalanceListener
    from streamkit.common.model import TopicPartition as TopicPartition

_PLACES = {
    "Admin": "admin",
    "AlterOperation": "admin",
    "BlockingAdmin": "blocking",
    "BlockingConsumer": "blocking",
    "BlockingProducer": "blocking",
    "CloseOptions": "closing",
    "ConfigEntry": "admin",
    "ConsumedBatch": "records",
    "Consumer": "consumer",
    "ConsumerRecord": "records",
    "GroupMembership": "closing",
    "NewTopic": "admin",
    "Producer": "producer",
    "RebalanceListener": "shared",
    "RecordMetadata": "records",
    "Resource": "admin",
    "ResourceType": "admin",
    "TopicPartition": "records",
}

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
    "RebalanceListener",
    "RecordMetadata",
    "Resource",
    "ResourceType",
    "TopicPartition",
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
