"""Versions, global tables and records too large for their topic, on Apache Kafka.

The same programs as in `tests/tasks`, over another broker, with Kafka's own topic configuration.
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

import streamkit as sk
from tests.judges.crashes import QUICK, apache_kafka
from tests.tasks.test_local_stores import check_kept, kept_program, produce_kept
from tests.tasks.test_too_large import EXACTLY_ONCE, KEPT, LARGE, keys_of, program, run

pytestmark = pytest.mark.judge


class Told:
    """A listener that adds up what was restored of global tables."""

    def __init__(self) -> None:
        self.restored = 0

    def on_restore_start(self, *_: object) -> None:
        """Only the end counts."""

    def on_batch_restored(self, *_: object) -> None:
        """Only the end counts."""

    def on_restore_suspended(self, *_: object) -> None:
        """Only the end counts."""

    def on_restore_end(self, partition: object, store: str, total: int) -> None:
        if store == "shops":
            self.restored += total


def test_on_apache_kafka(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as broker:
        asyncio.run(check_too_large(broker.bootstrap, tmp_path / "large"))
        asyncio.run(check_versions_and_global_tables(broker.bootstrap, tmp_path / "kept"))


async def check_too_large(bootstrap: str, state: Path) -> None:
    app = program(sk.dead_letter("dlq"), EXACTLY_ONCE)
    keys, counts = await run(bootstrap, app, state)
    assert keys == KEPT
    assert counts == {key.decode(): 1 for key in KEPT}
    letters = await keys_of(bootstrap, "dlq", b"%d" % LARGE[1])
    assert letters == [b"%d" % number for number in LARGE]


async def check_versions_and_global_tables(bootstrap: str, state: Path) -> None:
    await produce_kept(bootstrap)
    restored = []
    for _ in range(2):
        told = Told()
        app = kept_program(told)
        config = {"state.dir": str(state)}
        async with app.worker(bootstrap=bootstrap, config=config) as worker:
            await check_kept(worker)
        restored.append(told.restored)
    assert restored == [5, 0]
