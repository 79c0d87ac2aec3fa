"""Word count as a peer's documentation shows it; runs in the peers' own environment.

The name of the peer is the argument; the rest comes from the environment of the process.
"""

from __future__ import annotations

import os
import sys
from typing import Any

BOOTSTRAP = os.environ["BENCH_BOOTSTRAP"]
DIRECTORY = os.environ["BENCH_DIRECTORY"]
OUTPUT = os.environ["BENCH_OUTPUT"]
COMMIT_S = 0.5


def quix() -> None:
    from quixstreams import Application, State

    app = Application(
        broker_address=BOOTSTRAP,
        consumer_group="bench-quix",
        auto_offset_reset="earliest",
        commit_interval=COMMIT_S,
        state_dir=f"{DIRECTORY}/state",
        loglevel="WARNING",
    )
    lines = app.topic("lines", value_deserializer="str")
    output = app.topic(OUTPUT, key_serializer="str", value_serializer="str")

    def count(_: str, state: State) -> str:
        number = state.get("count", 0) + 1
        state.set("count", number)
        return str(number)

    words = app.dataframe(lines).apply(str.split, expand=True)
    grouped = words.group_by(
        lambda word: word,
        name="words",
        value_serializer="str",
        value_deserializer="str",
        key_serializer="str",
        key_deserializer="str",
    )
    grouped.apply(count, stateful=True).to_topic(output)
    app.run()


def faust() -> None:
    import faust as library

    app = library.App(
        "bench-faust",
        broker=f"kafka://{BOOTSTRAP}",
        store="memory://",
        datadir=f"{DIRECTORY}/state",
        topic_partitions=4,
        broker_commit_interval=COMMIT_S,
        consumer_auto_offset_reset="earliest",
        web_enabled=False,
        topic_disable_leader=True,
    )
    lines = app.topic("lines", key_type=bytes, value_type=bytes, value_serializer="raw")
    words = app.topic("faust-words", key_type=str, value_type=str, partitions=4)
    output = app.topic(
        OUTPUT,
        key_type=bytes,
        key_serializer="raw",
        value_type=bytes,
        value_serializer="raw",
        partitions=4,
    )
    counts = app.Table("counts", default=int, partitions=4)

    @app.agent(lines)
    async def split(stream: Any) -> None:
        async for line in stream:
            for word in line.decode().split():
                await words.send(key=word, value=word)

    @app.agent(words)
    async def count(stream: Any) -> None:
        async for word in stream:
            counts[word] += 1
            await output.send(key=word.encode(), value=b"%d" % counts[word])

    sys.argv = [sys.argv[0], "worker", "--loglevel", "warn", "--without-web"]
    app.main()


if __name__ == "__main__":
    {"quix": quix, "faust": faust}[sys.argv[1]]()
