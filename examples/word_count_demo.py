"""The demo of word count: feeds real text and shows the top words while they are counted."""

from __future__ import annotations

import argparse
import asyncio
import importlib.util
import sys
import time
from collections import Counter
from heapq import nlargest
from pathlib import Path

from live import PARTITIONS, Running, follow, running
from rich.console import Console
from rich.live import Live
from rich.table import Table

from streamkit.client import Producer
from streamkit.records import is_compiled

PROGRAM = str(Path(__file__).with_name("word_count.py"))
SETTINGS = {"commit.interval.ms": "250"}
TOP = 12


def text() -> list[str]:
    """The lines of the language reference as the standard library brings it, 0.75 MB."""
    spec = importlib.util.find_spec("pydoc_data.topics")
    assert spec is not None and spec.origin is not None, "the standard library is not complete"
    return [line for line in Path(spec.origin).read_text("utf-8").splitlines() if line.strip()]


class Progress:
    """What the demo knows so far, and how it looks."""

    def __init__(self, lines: int, words: int) -> None:
        self.lines = lines
        self.words = words
        self.fed = 0
        self.counts: dict[str, int] = {}
        self.counted = 0
        self.started = time.monotonic()

    def add(self, word: str, count: int) -> None:
        self.counted += count - self.counts.get(word, 0)
        self.counts[word] = count

    def table(self) -> Table:
        elapsed = time.monotonic() - self.started
        table = Table(
            title=f"{self.counted:,} of {self.words:,} words counted",
            min_width=48,
            caption=f"{self.fed:,} of {self.lines:,} lines fed, {elapsed:.1f} s",
        )
        table.add_column("word")
        table.add_column("count", justify="right")
        for word, count in nlargest(TOP, self.counts.items(), key=lambda item: item[1]):
            table.add_row(word, f"{count:,}")
        return table


async def feed(bootstrap: str, lines: list[str], repeats: int, progress: Progress) -> None:
    """Write the text `repeats` times, line by line over the partitions."""
    config = {"bootstrap.servers": bootstrap, "linger.ms": 20, "batch.size": 131072}
    async with Producer(config) as producer:
        for _ in range(repeats):
            for number, line in enumerate(lines):
                await producer.send("lines", line, partition=number % PARTITIONS)
            progress.fed += len(lines)
            await asyncio.sleep(0)


async def watch(app: Running, progress: Progress, live: Live) -> None:
    """Follow the counts until all words are counted."""
    async for records in follow(app, "counts"):
        for record in records:
            assert record.key is not None, "a count has a word"
            assert record.value is not None, "a word is never uncounted"
            progress.add(record.key.decode(), int.from_bytes(record.value, "big"))
        live.update(progress.table())
        if progress.counted >= progress.words:
            return


async def demo(megabytes: float) -> int:
    """Run it; the exit status."""
    lines = text()
    once = Counter(word for line in lines for word in line.split())
    size = sum(len(line.encode()) for line in lines)
    repeats = max(1, -(-int(megabytes * 1e6) // size))
    progress = Progress(len(lines) * repeats, once.total() * repeats)
    console = Console()
    async with running(PROGRAM, ["lines", "counts"], SETTINGS) as app:
        progress.started = time.monotonic()
        with Live(progress.table(), console=console, refresh_per_second=8) as live:
            async with asyncio.TaskGroup() as group:
                group.create_task(feed(app.bootstrap, lines, repeats, progress))
                group.create_task(watch(app, progress, live))
        seconds = time.monotonic() - progress.started
    right = progress.counts == {word: count * repeats for word, count in once.items()}
    variant = "compiled" if is_compiled() else "interpreted"
    console.print(
        f"{progress.lines:,} records ({size * repeats / 1e6:.1f} MB), {progress.words:,} words in "
        f"{seconds:.1f} s: {progress.lines / seconds:,.0f} records/s, "
        f"{progress.words / seconds:,.0f} words/s ({variant}); "
        f"counts {'equal' if right else 'DIFFER FROM'} collections.Counter's",
        highlight=False,
        soft_wrap=True,
    )
    return 0 if right else 1


def main() -> None:
    """The command line of the demo."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=20, help="how much text, at least")
    sys.exit(asyncio.run(demo(parser.parse_args().megabytes)))
