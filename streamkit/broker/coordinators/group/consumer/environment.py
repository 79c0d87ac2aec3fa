"""What operations on consumer groups need to know beyond the group, asked for when they run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from streamkit.broker.coordinators.group.classic.messages import Environment as ClassicEnvironment
from streamkit.broker.coordinators.group.consumer.config import ConsumerConfig
from streamkit.broker.coordinators.seams import TopicCatalog


@dataclass(frozen=True, slots=True)
class Environment:
    """Time, chance, settings and topics; `classic` is for groups that are converted."""

    now_ms: Callable[[], int]
    make_id: Callable[[], str]
    config: Callable[[str], ConsumerConfig]
    topics: Callable[[], TopicCatalog]
    new_topics_version: Callable[[], int]
    """The version of the image that last brought new topics."""
    classic: ClassicEnvironment


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sent a request."""

    client_id: str
    client_host: str
    api_version: int
