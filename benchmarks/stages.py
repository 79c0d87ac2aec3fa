"""What each stage of a word count costs, in one thread and without the network.

Real text goes through the same decoder, operators, collector, cache and RocksDB as in a worker,
a batch of each stage at a time. For each stage the median of the rounds, in µs a word.

    python -m benchmarks.stages
"""

from __future__ import annotations

import json
import tempfile
import time
from collections.abc import Callable
from itertools import cycle, islice
from statistics import median
from typing import Any

from benchmarks import text
from benchmarks.machine import about
from benchmarks.programs import app
from streamkit.common.model import TaskId
from streamkit.records import decode, encode, scan
from streamkit.state.cache import CacheBudget
from streamkit.state.factory import Changelog, build_store
from streamkit.state.rocks import RocksBackend, RocksMemory
from streamkit.state.task_state import TaskState
from streamkit.tasks.collector import Collector
from streamkit.tasks.context import TaskContext
from streamkit.tasks.worker import tune_interpreter
from streamkit.topology.plan import Subtopology

LINES_A_BATCH = 4000
ROUNDS = 60
BATCH_BYTES = 131_072
CACHE_BYTES = 10_485_760
COMMIT_ROUNDS = 10
"""So many batches of lines between two commits: about 400,000 words, half a second's worth."""
TIMESTAMP = 1_700_000_000_000


class Stopwatch:
    """CPU seconds spent in each stage, round by round."""

    def __init__(self) -> None:
        self.rounds: dict[str, list[float]] = {}

    def time(self, stage: str, work: Callable[..., Any], *arguments: Any) -> Any:
        """Do the work; its duration counts for the stage."""
        started = time.thread_time()
        result = work(*arguments)
        self.rounds.setdefault(stage, []).append(time.thread_time() - started)
        return result

    def us_per_word(self, words_a_round: float) -> dict[str, float]:
        """The median of each stage's rounds."""
        return {
            stage: round(median(seconds) / words_a_round * 1e6, 3)
            for stage, seconds in self.rounds.items()
        }


class Half:
    """One sub-topology of the program, linked for partition 0."""

    def __init__(self, subtopology: Subtopology, collector: Collector, directory: str) -> None:
        context = TaskContext("bench", TaskId(subtopology.id, 0), collector, lambda: 0, lambda _: 4)
        self.state = TaskState(
            subtopology.stores,
            lambda families: RocksBackend(directory, list(families), RocksMemory()),
        )
        budget = CacheBudget(CACHE_BYTES)
        for builder in subtopology.stores:
            writer = collector.writer(f"bench-{builder.name}-changelog")
            writer.set_count(4)
            changelog = Changelog(writer.topic, 0, writer.append)
            overlay = self.state.overlays[builder.name]
            context.stores[builder.name] = build_store(builder, overlay, changelog, budget, context)
        self.context = context
        self.linked = subtopology.link(context)
        self.linked.init()
        self.source = next(iter(self.linked.sources.values()))

    def run(self, batches: list[Any]) -> None:
        for batch in batches:
            self.source.run(batch, 0, len(batch))

    def flush(self) -> None:
        for store in self.context.stores.values():
            store.flush()


def build(pairs: list[Any]) -> list[bytes]:
    return [batch.build() for _, batch in pairs]


def decode_all(batches: list[bytes]) -> list[Any]:
    return [decode(data, header) for data in batches for header in scan(data)]


def run(rounds: int, directory: str) -> dict[str, float]:
    """Everything, `rounds` times over."""
    collector = Collector(BATCH_BYTES, 0, lambda count: 0)
    split, count = (Half(each, collector, directory) for each in app.topology.subtopologies)
    lines = [(None, line.encode(), TIMESTAMP, ()) for line in text.lines()]
    endless = cycle(lines)
    batches = [encode(islice(endless, LINES_A_BATCH)) for _ in range(rounds)]
    watch = Stopwatch()
    words = 0
    for number, data in enumerate(batches, 1):
        read = watch.time("decode lines", decode_all, [data])
        watch.time("split, key, hash, append", split.run, read)
        built = watch.time("build batches", build, collector.take())
        again = watch.time("decode words", decode_all, built)
        words += sum(len(batch) for batch in again)
        watch.time("count in the cache", count.run, again)
        if number % COMMIT_ROUNDS == 0:
            watch.time("commit: cache to changelog and output", count.flush)
            collector.take()
            watch.time("commit: changes to RocksDB", count.state.apply, {})
    a_round = words / rounds
    watch.rounds = {
        stage: [s / COMMIT_ROUNDS for s in seconds] if stage.startswith("commit") else seconds
        for stage, seconds in watch.rounds.items()
    }
    return watch.us_per_word(a_round)


def main() -> None:
    tune_interpreter()
    with tempfile.TemporaryDirectory() as directory:
        stages = run(ROUNDS, directory)
    total = round(sum(stages.values()), 3)
    print(json.dumps({"about": about(), "us_per_word": stages | {"total": total}}, indent=1))


if __name__ == "__main__":
    main()
