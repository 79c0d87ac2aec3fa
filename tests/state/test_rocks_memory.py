"""The memory of all databases of a process together: memtables and blocks in one limit."""

from __future__ import annotations

from streamkit.state.rocks import RocksBackend, RocksMemory

LIMIT = 8 * 1024 * 1024
VALUE = bytes(range(256)) * 4


def test_memtables_of_several_databases_stay_within_the_limit(tmp_path):
    memory = RocksMemory(LIMIT)
    backends = [RocksBackend(str(tmp_path / name), ["rows"], memory) for name in "abc"]
    most = 0
    for base in range(0, 12_000, 500):
        for backend in backends:
            backend.write([("rows", b"%06d" % (base + i), VALUE) for i in range(500)])
            most = max(most, memory.used_bytes)
    written = 3 * 12_000 * len(VALUE)
    assert LIMIT // 8 < most < 1.5 * LIMIT < written
    for backend in backends:
        assert sum(1 for _ in backend.scan("rows", None, None)) == 12_000
        assert memory.used_bytes < 1.5 * LIMIT
        assert backend.number("rows", "rocksdb.estimate-num-keys") > 0
        backend.close()
