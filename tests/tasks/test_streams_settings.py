"""The settings of an application: Kafka Streams' keys, defaults and prefixes."""

from __future__ import annotations

import pytest

from streamkit.common.errors import ConfigError
from streamkit.tasks.settings import StreamsSettings


def of(**values):
    return StreamsSettings.from_mapping({k.replace("_", "."): v for k, v in values.items()})


def test_defaults_are_those_of_kafka_streams():
    settings = of()
    assert settings.processing_guarantee == "exactly_once_v2"
    assert settings.commit_interval_ms == 100
    assert settings.statestore_cache_max_bytes == 10_485_760
    assert settings.buffered_records_per_partition == 1000
    assert settings.max_task_idle_ms == 0
    assert settings.state_cleanup_delay_ms == 600_000
    assert settings.poll_interval_max_ms == 300_000
    assert settings.producer().linger_ms == 100
    assert settings.consumer().auto_offset_reset == "earliest"


def test_exactly_once_commits_often_and_reads_committed():
    settings = of(processing_guarantee="exactly_once_v2")
    assert settings.commit_interval_ms == 100
    assert settings.consumer().isolation_level == "read_committed"
    assert settings.producer().transaction_timeout_ms == 10_000


def test_at_least_once_by_choice_commits_rarely():
    settings = of(processing_guarantee="at_least_once")
    assert settings.commit_interval_ms == 30_000
    assert settings.consumer().isolation_level == "read_uncommitted"


def test_given_commit_interval_stays_with_exactly_once():
    settings = of(processing_guarantee="exactly_once_v2", commit_interval_ms=700)
    assert settings.commit_interval_ms == 700


def test_commit_interval_beyond_the_transaction_timeout_is_refused():
    with pytest.raises(ConfigError, match=r"transaction\.timeout\.ms=10000 must not be below"):
        of(processing_guarantee="exactly_once_v2", commit_interval_ms=20_000)


def test_transactional_id_is_not_for_the_user_to_set():
    with pytest.raises(ConfigError, match=r"producer\.transactional\.id is set by streamkit"):
        StreamsSettings.from_mapping(
            {
                "application.id": "shop",
                "bootstrap.servers": "x:1",
                "processing.guarantee": "exactly_once_v2",
                "producer.transactional.id": "mine",
            }
        )


@pytest.mark.parametrize(
    ("key", "named"),
    [
        ("commit.intervall.ms", "commit.intervall.ms"),
        ("producer.lingerr.ms", "lingerr.ms"),
        ("consumer.foo", "'foo' in consumer"),
    ],
)
def test_unknown_key_is_named(key, named):
    with pytest.raises(ConfigError, match=named):
        StreamsSettings.from_mapping({key: "5"})


def test_prefixes_reach_their_client():
    settings = StreamsSettings.from_mapping(
        {
            "producer.linger.ms": "7",
            "consumer.fetch.max.bytes": "5000",
            "main.consumer.fetch.max.bytes": "6000",
            "topic.min.insync.replicas": "2",
            "retry.backoff.ms": "55",
        }
    )
    assert settings.producer().linger_ms == 7
    assert settings.consumer().fetch_max_bytes == 6000
    assert settings.topic_configs() == {"min.insync.replicas": "2"}
    assert settings.producer().retry_backoff_ms == settings.client().retry_backoff_ms == 55


def test_what_streams_sets_itself_is_refused():
    with pytest.raises(ConfigError, match=r"consumer\.enable\.auto\.commit is set by streamkit"):
        StreamsSettings.from_mapping({"consumer.enable.auto.commit": "true"})


def test_poll_interval_may_be_a_consumers_setting():
    settings = StreamsSettings.from_mapping({"consumer.max.poll.interval.ms": "1234"})
    assert settings.poll_interval_max_ms == 1234


def test_client_tags_go_to_the_member():
    settings = of(
        client_tag_zone="z-7", client_tag_cluster="k8s", rack_aware_assignment_tags="zone"
    )
    assert settings.client_tags() == (("cluster", "k8s"), ("zone", "z-7"))
    assert settings.rack_aware_assignment_tags == ("zone",)


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"rack_aware_assignment_tags": "zone"}, "client.tag.zone is not set"),
        ({"client_tag_zone": "z" * 31}, "a value 1 to 30"),
        ({"client_tag_" + "z" * 21: "7"}, "1 to 20 characters"),
        ({f"client_tag_t{n}": "7" for n in range(6)}, "at most 5 tags"),
    ],
)
def test_client_tags_have_kafka_streams_limits(values, why):
    with pytest.raises(ConfigError, match=why):
        of(**values)
