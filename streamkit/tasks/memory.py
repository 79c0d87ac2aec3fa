"""One budget for what a worker process keeps in memory of its data, shared out among the parts.

`memory.max.bytes` is the whole, beside the interpreter and the program. The parts that have a
setting of their own take that when it is given, else their default, made smaller when the whole is
small. RocksDB gets the rest: one block cache for all databases of the process, in which memtables
count too. Pure.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

from streamkit.common.errors import ConfigError
from streamkit.common.metrics import Family, Kind, Sample
from streamkit.state.bulk_load import BYTES_MAX
from streamkit.tasks.settings import StreamsSettings

MIB: Final = 1 << 20
FETCH_BYTES: Final = 32 * MIB
RESTORE_BYTES: Final = 16 * MIB
INPUT_BYTES: Final = 32 * MIB
ROCKSDB_BYTES_MIN: Final = 16 * MIB
PART_BYTES_MIN: Final = MIB
UNLIMITED: Final = -1
ROCKSDB_BYTES_UNLIMITED: Final = 64 * MIB


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """Bytes for each part; `uncommitted` is -1 when changes may grow without bounds."""

    cache: int
    uncommitted: int
    producer: int
    fetch: int
    restore: int
    input: int
    rocksdb: int

    @property
    def load(self) -> int:
        """What a store that is far behind may gather, out of the part for uncommitted changes.

        Only one store at a time gathers, and no task has records meanwhile.
        """
        return BYTES_MAX if self.uncommitted < 0 else min(BYTES_MAX, self.uncommitted // 4)

    def parts(self) -> dict[str, int]:
        """The parts by name."""
        return {
            "cache": self.cache,
            "uncommitted": self.uncommitted,
            "producer": self.producer,
            "fetch": self.fetch,
            "restore": self.restore,
            "input": self.input,
            "rocksdb": self.rocksdb,
        }


class Room:
    """What fetched data that waits to be processed may take, shared by the partitions.

    And `load_bytes`, what may be gathered to load a store in bulk: by one store at a time.
    """

    __slots__ = ("_loader", "load_bytes", "partitions", "size_bytes")

    def __init__(self, size_bytes: int = INPUT_BYTES, load_bytes: int = BYTES_MAX) -> None:
        self.size_bytes = size_bytes
        self.load_bytes = load_bytes
        self.partitions = 0
        self._loader: object | None = None

    def may_load(self, who: object) -> bool:
        """False while somebody else gathers."""
        return self._loader is None or self._loader is who

    def begin_load(self, who: object) -> None:
        """Be the one that gathers, until `end_load`."""
        assert self.may_load(who), "another store is loaded"
        self._loader = who

    def end_load(self, who: object) -> None:
        """Let others gather."""
        if self._loader is who:
            self._loader = None

    @property
    def share(self) -> int:
        """Bytes for each partition; one that holds more is paused."""
        return self.size_bytes // max(self.partitions, 1)


def memory_families(plan: MemoryPlan, used: Mapping[str, Callable[[], int]]) -> list[Family]:
    """How much each part may take, and how much it takes."""
    limits = [Sample((("part", name),), size) for name, size in plan.parts().items()]
    taken = [Sample((("part", name),), read()) for name, read in used.items()]
    return [
        Family("streamkit_memory_max_bytes", Kind.GAUGE, "What a part may take.", limits),
        Family("streamkit_memory_used_bytes", Kind.GAUGE, "What a part takes.", taken),
    ]


def plan_memory(settings: StreamsSettings) -> MemoryPlan:
    """Share the budget out. Raises ConfigError when the parts that were set leave too little."""
    producer = settings.producer()
    given = settings.model_fields_set
    parts = {
        "cache": settings.statestore_cache_max_bytes,
        "uncommitted": settings.statestore_uncommitted_max_bytes,
        "producer": producer.buffer_memory,
        "fetch": FETCH_BYTES,
        "restore": RESTORE_BYTES,
        "input": INPUT_BYTES,
    }
    total = settings.memory_max_bytes
    if total == UNLIMITED:
        return MemoryPlan(**parts, rocksdb=ROCKSDB_BYTES_UNLIMITED)
    fixed = {
        name
        for name, is_given in (
            ("cache", "statestore_cache_max_bytes" in given),
            ("uncommitted", "statestore_uncommitted_max_bytes" in given),
            ("producer", "buffer_memory" in producer.model_fields_set),
        )
        if is_given
    }
    room = total - ROCKSDB_BYTES_MIN - sum(max(parts[name], 0) for name in fixed)
    wanted = sum(size for name, size in parts.items() if name not in fixed)
    needed = PART_BYTES_MIN * (len(parts) - len(fixed))
    if room < needed:
        said = ", ".join(f"{name} {parts[name]}" for name in sorted(fixed)) or "nothing"
        raise ConfigError(
            f"memory.max.bytes={total} is too small: RocksDB needs {ROCKSDB_BYTES_MIN}, the parts "
            f"without a setting {needed}, and set are {said}; raise it, or lower those"
        )
    if wanted > room:
        for name in parts.keys() - fixed:
            parts[name] = max(parts[name] * room // wanted, PART_BYTES_MIN)
    rest = total - sum(max(size, 0) for size in parts.values())
    return MemoryPlan(**parts, rocksdb=max(rest, ROCKSDB_BYTES_MIN))
