"""Every configuration key of Kafka Streams 4.4 is taken, or refused with what to do instead."""

from __future__ import annotations

import pytest

from streamkit.common.errors import ConfigError
from streamkit.tasks.settings import StreamsSettings

INSTEAD = {
    "allow.os.group.write.access": "umask",
    "auto.offset.reset": "offset_reset=",
    "built.in.metrics.version": "one version",
    "config.providers": "os.environ",
    "connections.max.idle.ms": "dialled again",
    "default.client.supplier": "own clients",
    "default.interactive.query.isolation.level": "what was committed",
    "default.list.key.serde.inner": "list_of",
    "default.list.key.serde.type": "list_of",
    "default.list.value.serde.inner": "list_of",
    "default.list.value.serde.type": "list_of",
    "enable.metrics.push": "/metrics",
    "enable.transactional.statestores": "after its commit",
    "log.summary.interval.ms": "/metrics",
    "metadata.cluster.check.enable": "no counterpart",
    "metric.reporters": "/metrics",
    "metrics.num.samples": "30 s",
    "metrics.sample.window.ms": "30 s",
    "num.stream.threads": "--processes N",
    "probing.rebalance.interval.ms": "warm",
    "receive.buffer.bytes": "buffers",
    "retries": "task.timeout.ms",
    "rocksdb.config.setter": "memory.max.bytes",
    "send.buffer.bytes": "buffers",
    "task.assignor.class": "the broker assigns",
    "topology.description.push.enabled": "heartbeats",
    "upgrade.from": "no older format",
    "window.size.ms": "time_windowed",
    "windowed.inner.class.serde": "time_windowed",
}
TAKEN = {
    "acceptable.recovery.lag": "5",
    "application.server": "a:1",
    "bootstrap.servers": "a:1",
    "buffered.records.per.partition": "5",
    "cache.max.bytes.buffering": "5",
    "client.id": "c",
    "commit.interval.ms": "5",
    "default.deserialization.exception.handler": "LogAndContinueExceptionHandler",
    "default.dsl.store": "in_memory",
    "default.key.serde": "str",
    "default.production.exception.handler": "log_and_fail",
    "default.timestamp.extractor": "record",
    "default.value.serde": "str",
    "deserialization.exception.handler": "log_and_fail",
    "dsl.store.format": "HEADERS",
    "dsl.store.suppliers.class": "in_memory",
    "ensure.explicit.internal.resource.naming": "true",
    "errors.dead.letter.queue.topic.name": "dead",
    "group.protocol": "streams",
    "max.task.idle.ms": "-1",
    "max.warmup.replicas": "5",
    "metadata.max.age.ms": "5",
    "metadata.recovery.rebootstrap.trigger.ms": "5",
    "metadata.recovery.strategy": "none",
    "metrics.recording.level": "DEBUG",
    "num.standby.replicas": "5",
    "poll.ms": "5",
    "processing.exception.handler": "log_and_fail",
    "processing.exception.handler.global.enabled": "true",
    "processing.guarantee": "at_least_once",
    "processor.wrapper.class": "package.module:function",
    "production.exception.handler": "log_and_fail",
    "rack.aware.assignment.tags": "",
    "reconnect.backoff.max.ms": "5",
    "reconnect.backoff.ms": "5",
    "repartition.purge.interval.ms": "5",
    "replication.factor": "3",
    "request.timeout.ms": "5",
    "retry.backoff.ms": "5",
    "security.protocol": "SSL",
    "state.cleanup.delay.ms": "5",
    "state.cleanup.dir.max.age.ms": "5",
    "state.dir": "/tmp/s",
    "statestore.cache.max.bytes": "5",
    "statestore.uncommitted.max.bytes": "5",
    "task.timeout.ms": "5",
    "topology.optimization": "all",
    "windowstore.changelog.additional.retention.ms": "5",
}


@pytest.mark.parametrize("key", INSTEAD)
def test_key_without_counterpart_says_what_to_do(key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        StreamsSettings.from_mapping({key: "1"})
    assert f"configuration key '{key}': " in str(caught.value)
    assert INSTEAD[key] in str(caught.value)


@pytest.mark.parametrize("key", TAKEN)
def test_key_is_taken(key: str) -> None:
    values = {key: TAKEN[key], "application.id": "app"}
    assert StreamsSettings.from_mapping(values).application_id == "app"
