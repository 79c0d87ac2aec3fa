"""Sharing out the memory budget of a worker."""

from __future__ import annotations

import pytest

from streamkit.common.errors import ConfigError
from streamkit.state.bulk_load import BYTES_MAX
from streamkit.tasks.memory import MIB, ROCKSDB_BYTES_MIN, plan_memory
from streamkit.tasks.settings import StreamsSettings

BASE = {"bootstrap.servers": "h:1", "application.id": "a"}


def plan(**values):
    given = {name.replace("_", "."): value for name, value in values.items()}
    return plan_memory(StreamsSettings.from_mapping({**BASE, **given}))


def total_of(parts):
    return sum(parts.parts().values())


def test_budget_is_on_by_default_and_all_of_it_is_given_out():
    assert total_of(plan()) == 256 * MIB


@pytest.mark.parametrize("megabytes", [40, 64, 150, 1_000])
def test_parts_add_up_to_the_whole(megabytes):
    parts = plan(memory_max_bytes=megabytes * MIB)
    assert megabytes * MIB - len(parts.parts()) <= total_of(parts) <= megabytes * MIB
    assert parts.rocksdb >= ROCKSDB_BYTES_MIN


def test_what_is_set_is_kept_and_the_others_give_way():
    parts = plan(memory_max_bytes=100 * MIB, statestore_cache_max_bytes=50 * MIB)
    assert parts.cache == 50 * MIB
    assert total_of(parts) <= 100 * MIB


def test_producer_buffer_counts():
    parts = plan(**{"memory_max_bytes": 100 * MIB, "producer.buffer.memory": 30 * MIB})
    assert parts.producer == 30 * MIB


def test_larger_budget_goes_to_rocksdb():
    assert plan(memory_max_bytes=1_000 * MIB).rocksdb - plan().rocksdb == (1_000 - 256) * MIB


def test_loading_in_bulk_is_part_of_what_is_uncommitted():
    assert plan().load == BYTES_MAX
    small = plan(memory_max_bytes=64 * MIB)
    assert 0 < small.load == small.uncommitted // 4 < BYTES_MAX
    assert plan(statestore_uncommitted_max_bytes=-1).load == BYTES_MAX


def test_unlimited_keeps_the_single_limits():
    parts = plan(memory_max_bytes=-1, statestore_uncommitted_max_bytes=-1)
    assert parts.uncommitted == -1
    assert parts.cache == 10_485_760


@pytest.mark.parametrize(
    "values",
    [
        {"memory_max_bytes": 10 * MIB},
        {"memory_max_bytes": 100 * MIB, "statestore_cache_max_bytes": 90 * MIB},
    ],
)
def test_too_small_a_budget_is_refused_with_the_numbers(values):
    with pytest.raises(ConfigError, match=r"memory.max.bytes=\d+ is too small"):
        plan(**values)
