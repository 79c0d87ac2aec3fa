"""The memory of all databases of a process together: memtables and blocks in one limit."""

from __future__ import annotations

from streamkit.state.rocks import RUNS_LOADED_MIN, RUNS_MIN, RocksBackend, RocksMemory

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


def runs(backend):
    """How many files cover all keys."""
    return int(backend._columns["rows"].property_value("rocksdb.num-files-at-level0"))


def load_run(backend, number):
    entries = {b"%06d" % key: VALUE[:90] + b"%d" % number for key in range(number, 900, 7)}
    backend.load("rows", sorted(entries), entries)


def wait_merged(backend):
    while backend.number("rows", "rocksdb.compaction-pending") or backend.number(
        "rows", "rocksdb.num-running-compactions"
    ):
        pass


def test_loaded_files_are_merged_when_the_load_is_over(tmp_path):
    backend = RocksBackend(str(tmp_path / "rows"), ["rows"], RocksMemory(LIMIT))
    for number in range(4 * RUNS_MIN):
        load_run(backend, number)
    wait_merged(backend)
    # The first lies below, since there was nothing that it could cover.
    assert runs(backend) == 4 * RUNS_MIN - 1
    backend.end_load("rows")
    wait_merged(backend)
    assert runs(backend) < RUNS_MIN
    assert sum(1 for _ in backend.scan("rows", None, None)) == 900
    assert backend.reader("rows")(b"000896") == VALUE[:90] + b"14"
    backend.close()


def test_load_without_end_has_a_limit_of_files(tmp_path):
    backend = RocksBackend(str(tmp_path / "rows"), ["rows"], RocksMemory(LIMIT))
    for number in range(RUNS_LOADED_MIN + 9):
        load_run(backend, number)
    wait_merged(backend)
    assert runs(backend) < RUNS_LOADED_MIN
    backend.close()


def test_writes_never_wait_for_merging(tmp_path):
    """RocksDB's stop at 36 files would hold the interpreter, and with it the heartbeats."""
    backend = RocksBackend(str(tmp_path / "rows"), ["rows"], RocksMemory(LIMIT))
    for number in range(40):
        load_run(backend, number)
    backend.write([("rows", b"000005", b"written")])
    assert backend.number("rows", "rocksdb.is-write-stopped") == 0
    assert backend.number("rows", "rocksdb.actual-delayed-write-rate") == 0
    assert backend.reader("rows")(b"000005") == b"written"
    backend.close()
