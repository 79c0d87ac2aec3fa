"""The cluster as a whole: brokers, features, log directories, elections."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

from streamkit.client.client import Client
from streamkit.client.draft import Draft
from streamkit.client.errors import error_for, raise_for
from streamkit.client.metadata import BrokerView
from streamkit.common.model import TopicPartition
from streamkit.protocol.apis import ApiKey, VersionRange
from streamkit.protocol.errors import ErrorCode


class ElectionType(IntEnum):
    """Whom an election may choose: the first replica only, or one that lacks records."""

    PREFERRED = 0
    UNCLEAN = 1


class FeatureUpgrade(IntEnum):
    """Which way the level of a feature may go."""

    UPGRADE = 1
    SAFE_DOWNGRADE = 2
    UNSAFE_DOWNGRADE = 3


@dataclass(frozen=True, slots=True)
class ClusterDescription:
    """The cluster as DescribeCluster shows it."""

    cluster_id: str
    controller_id: int
    brokers: tuple[BrokerView, ...]


@dataclass(frozen=True, slots=True)
class Features:
    """Levels by feature: what a broker could do, and what the cluster has agreed on.

    `epoch` counts the agreements, and is -1 where there was none yet.
    """

    supported: Mapping[str, VersionRange]
    finalized: Mapping[str, int]
    epoch: int


@dataclass(frozen=True, slots=True)
class FeatureUpdate:
    """A new level for a feature; 0 switches it off, which is a downgrade."""

    level: int
    upgrade: FeatureUpgrade = FeatureUpgrade.UPGRADE


@dataclass(frozen=True, slots=True)
class LogDirectory:
    """One directory of a broker; sizes in bytes, -1 where the broker does not tell.

    `error` is set where the directory failed, and nothing else is known then.
    """

    path: str
    total_bytes: int
    usable_bytes: int
    partitions: Mapping[TopicPartition, int]
    error: ErrorCode = ErrorCode.none


class Cluster:
    """Calls on the cluster; each retries until `default.api.timeout.ms`.

    await Cluster(client).describe()
    """

    def __init__(self, client: Client) -> None:
        self._client = client

    async def describe(self) -> ClusterDescription:
        """Its id and its brokers."""
        response = await self._client.request(
            None,
            Draft(ApiKey.DESCRIBE_CLUSTER, {}),
            lambda answer: raise_for(answer.error_code, "describe cluster", answer.error_message),
        )
        brokers = (BrokerView(b.broker_id, b.host, b.port, b.rack) for b in response.brokers)
        return ClusterDescription(response.cluster_id, response.controller_id, tuple(brokers))

    async def features(self) -> Features:
        """What a broker supports, and what is finalized."""
        response = await self._client.request(
            None,
            Draft(ApiKey.API_VERSIONS, _SOFTWARE),
            lambda answer: raise_for(answer.error_code, "features"),
        )
        supported = {
            str(each.name): VersionRange(int(each.min_version), int(each.max_version))
            for each in response.supported_features
        }
        finalized = {
            str(each.name): int(each.max_version_level) for each in response.finalized_features
        }
        return Features(supported, finalized, int(response.finalized_features_epoch))

    async def update_features(
        self, updates: Mapping[str, FeatureUpdate], *, validate_only: bool
    ) -> None:
        """All of the new levels, or none."""
        fields = {
            "timeout": self._client.settings.request_timeout_ms,
            "feature_updates": [
                {
                    "feature": name,
                    "max_version_level": each.level,
                    "upgrade_type": int(each.upgrade),
                    "allow_downgrade": each.upgrade is not FeatureUpgrade.UPGRADE,
                }
                for name, each in updates.items()
            ],
            "validate_only": validate_only,
        }
        what = f"update of the features {', '.join(updates)}"

        def check(response: Any) -> None:
            raise_for(response.error_code, what, response.error_message)

        await self._client.request(None, Draft(ApiKey.UPDATE_FEATURES, fields), check)

    async def log_directories(
        self, brokers: Iterable[int] | None, partitions: Iterable[TopicPartition] | None
    ) -> dict[int, list[LogDirectory]]:
        """By broker, what its directories hold."""
        if brokers is None:
            view = await self._client.retrying(lambda: self._client.metadata.refresh([]))
            brokers = view.brokers
        topics = None if partitions is None else _topics(partitions, "topic")
        draft = Draft(ApiKey.DESCRIBE_LOG_DIRS, {"topics": topics})
        found = {}
        for node_id in sorted(brokers):
            response = await self._client.request(
                node_id, draft, lambda answer: raise_for(answer.error_code, "log directories")
            )
            found[node_id] = [_directory(each) for each in response.results]
        return found

    async def elect(
        self, kind: ElectionType, partitions: Iterable[TopicPartition] | None
    ) -> dict[TopicPartition, bool]:
        """Whether a leader was elected, by partition; False where none was needed."""
        fields = {
            "election_type": int(kind),
            "topic_partitions": None if partitions is None else _topics(partitions, "topic"),
            "timeout": self._client.settings.request_timeout_ms,
        }
        response = await self._client.request(
            None,
            Draft(ApiKey.ELECT_LEADERS, fields),
            lambda answer: raise_for(answer.error_code, "election of leaders"),
        )
        elected = {}
        for topic in response.replica_election_results:
            for answer in topic.partition_result:
                tp = TopicPartition(str(topic.topic), int(answer.partition_id))
                code = answer.error_code
                # What one partition lacks is for the caller: waiting rarely brings it.
                if code and code != ErrorCode.election_not_needed:
                    raise error_for(code, f"election of a leader of {tp}", answer.error_message)
                elected[tp] = not code
        return elected


_SOFTWARE = {"client_software_name": "streamkit", "client_software_version": "admin"}


def _topics(partitions: Iterable[TopicPartition], name: str) -> list[dict[str, Any]]:
    topics: dict[str, list[int]] = {}
    for tp in partitions:
        topics.setdefault(tp.topic, []).append(tp.partition)
    return [{name: topic, "partitions": indexes} for topic, indexes in topics.items()]


def _directory(answer: Any) -> LogDirectory:
    sizes = {
        TopicPartition(str(topic.name), int(each.partition_index)): int(each.partition_size)
        for topic in answer.topics
        for each in topic.partitions
        if not each.is_future_key
    }
    return LogDirectory(
        answer.log_dir,
        int(answer.total_bytes),
        int(answer.usable_bytes),
        sizes,
        ErrorCode(answer.error_code),
    )
