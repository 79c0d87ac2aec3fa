"""What the demos share: a broker and a worker in processes of their own, and their topics.

A real application has a cluster instead; the program is the same.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from streamkit.client import Admin, Consumer, ConsumerRecord, NewTopic, TopicPartition
from streamkit.testing.broker import Broker

PARTITIONS = 2


@dataclass
class Running:
    """A program at work."""

    bootstrap: str
    worker: subprocess.Popen[bytes]
    log: Path

    def check(self) -> None:
        """Raise RuntimeError, with what it last said, when the worker has ended."""
        if self.worker.poll() is not None:
            raise RuntimeError(f"the worker ended: {self.log.read_text()[-2000:]}")


@asynccontextmanager
async def running(
    program: str, topics: list[str], settings: Mapping[str, str]
) -> AsyncIterator[Running]:
    """Start a broker and a worker for `program`; both end with the block."""
    with (
        tempfile.TemporaryDirectory(prefix="streamkit-demo-") as directory,
        Broker(f"{directory}/broker") as broker,
    ):
        async with Admin({"bootstrap.servers": broker.bootstrap}) as admin:
            await admin.create_topics([NewTopic(name, PARTITIONS) for name in topics])
        log = Path(directory, "worker.log")
        worker = _start_worker(program, broker.bootstrap, directory, log, settings)
        try:
            yield Running(broker.bootstrap, worker, log)
        finally:
            worker.terminate()
            worker.wait(30)


def _start_worker(
    program: str, bootstrap: str, directory: str, log: Path, settings: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    argv = [sys.executable, "-m", "streamkit", "worker", program, "--bootstrap", bootstrap]
    for key, value in {"state.dir": f"{directory}/state", **settings}.items():
        argv += ["--set", f"{key}={value}"]
    with log.open("wb") as output:
        return subprocess.Popen(argv, stdout=output, stderr=subprocess.STDOUT)


async def follow(app: Running, topic: str) -> AsyncIterator[list[ConsumerRecord]]:
    """The records of a topic, as they come; an empty list now and then when none do."""
    config = {"bootstrap.servers": app.bootstrap, "auto.offset.reset": "earliest"}
    async with Consumer(config) as consumer:
        consumer.assign([TopicPartition(topic, part) for part in range(PARTITIONS)])
        while True:
            batches = await consumer.poll(timeout_ms=250)
            app.check()
            yield [record for batch in batches for record in batch.records()]
            await asyncio.sleep(0)
