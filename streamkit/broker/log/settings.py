"""A log's settings: the topic configurations that its files and its checks depend on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

LONG_MAX = 0x7FFFFFFFFFFFFFFF
LOG_APPEND_TIME = "LogAppendTime"
PRODUCER_COMPRESSION = "producer"
# Where a field's name is not the configuration's with underscores for dots.
CONFIG_NAMES = {
    "segment_index_bytes": "segment.index.bytes",
    "message_bytes_max": "max.message.bytes",
    "timestamp_type": "message.timestamp.type",
    "timestamp_before_max_ms": "message.timestamp.before.max.ms",
    "timestamp_after_max_ms": "message.timestamp.after.max.ms",
}


@dataclass(frozen=True, slots=True)
class LogSettings:
    """Kafka's topic configurations and their defaults."""

    segment_bytes: int = 1 << 30
    segment_ms: int = 7 * 24 * 3_600_000
    segment_jitter_ms: int = 0
    segment_index_bytes: int = 10 * 1024 * 1024
    index_interval_bytes: int = 4096
    message_bytes_max: int = 1_048_588
    retention_ms: int = 7 * 24 * 3_600_000
    retention_bytes: int = -1
    file_delete_delay_ms: int = 60_000
    flush_messages: int = LONG_MAX
    flush_ms: int = LONG_MAX
    cleanup_policy: tuple[str, ...] = ("delete",)
    delete_retention_ms: int = 24 * 3_600_000
    min_compaction_lag_ms: int = 0
    max_compaction_lag_ms: int = LONG_MAX
    min_cleanable_dirty_ratio: float = 0.5
    compression_type: str = PRODUCER_COMPRESSION
    compression_gzip_level: int = -1
    compression_lz4_level: int = 9
    compression_zstd_level: int = 3
    timestamp_type: str = "CreateTime"
    timestamp_before_max_ms: int = LONG_MAX
    timestamp_after_max_ms: int = 3_600_000

    @property
    def is_compacted(self) -> bool:
        return "compact" in self.cleanup_policy

    @property
    def is_deleted(self) -> bool:
        return "delete" in self.cleanup_policy

    @property
    def segment_age_max_ms(self) -> int:
        """A segment gets no more batches at this age, so that compaction is not too late."""
        if self.is_compacted:
            return min(self.segment_ms, self.max_compaction_lag_ms)
        return self.segment_ms

    @property
    def compression_level(self) -> int | None:
        """The level for `compression.type`; None where that codec has none."""
        return {
            "gzip": self.compression_gzip_level,
            "lz4": self.compression_lz4_level,
            "zstd": self.compression_zstd_level,
        }.get(self.compression_type)

    @property
    def is_log_append_time(self) -> bool:
        return self.timestamp_type == LOG_APPEND_TIME

    @classmethod
    def from_configs(cls, configs: Mapping[str, Any]) -> LogSettings:
        """Take what is known from a topic's effective configuration, as texts or as values."""
        values: dict[str, Any] = {}
        for field in fields(cls):
            name = CONFIG_NAMES.get(field.name, field.name.replace("_", "."))
            if name in configs:
                values[field.name] = _value(field.name, configs[name])
        return cls(**values)


def _value(name: str, value: Any) -> object:
    if name == "cleanup_policy":
        parts = value.split(",") if isinstance(value, str) else value
        return tuple(part.strip() for part in parts if part.strip())
    if name in ("compression_type", "timestamp_type"):
        return str(value)
    return float(value) if name == "min_cleanable_dirty_ratio" else int(value)
