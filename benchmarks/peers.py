"""Word count on the stream processors for Python, beside streamkit's: words a second.

Each peer counts as its documentation shows, with state and changelogs on, the commit interval
of streamkit, and what is cheapest to it (Faust keeps its table in memory). All read the same broker
and have one core. A peer's rate is that of its output records, one a word, from the first that is
seen to the last, so its start does not count; streamkit's is that of `streams`, warm. The final
counts of each are compared with the truth. The peers are installed in an environment of their own
on first use.

    python -m benchmarks.peers
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import venv
from dataclasses import asdict, dataclass

from confluent_kafka import Consumer, KafkaException, TopicPartition
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from benchmarks import streams
from benchmarks.contest import PARTITIONS, PROGRAMS, Answer
from benchmarks.machine import CLIENT_CORE, ROOT, RunningBroker, about, broker, cpu_s, pinned

ENVIRONMENT = ROOT / "build" / "peers"
REQUIREMENTS = ("quixstreams==3.28.1", "faust-streaming==0.15.3")
PEERS = ("quix", "faust")
STALLED_S = 60


@dataclass(frozen=True)
class Outcome:
    """One contender's run."""

    contender: str
    words: int
    words_per_s: int
    cpu_us_per_word: float
    answer_right: bool


def interpreter() -> str:
    """The Python that has the peers."""
    python = ENVIRONMENT / "bin" / "python"
    if not python.exists():
        venv.create(ENVIRONMENT, with_pip=True)
        subprocess.run([str(python), "-m", "pip", "install", "-q", *REQUIREMENTS], check=True)
    return str(python)


def run_peer(name: str, server: RunningBroker, contest: streams.Contest) -> Outcome:
    """Have a peer count everything."""
    admin = AdminClient({"bootstrap.servers": server.bootstrap})
    output = f"out-{name}"
    made = admin.create_topics(
        [NewTopic(each, PARTITIONS, 1) for each in (output, f"{name}-words")]
    )
    for future in made.values():
        future.result(30)
    directory = tempfile.mkdtemp(prefix=f"bench-{name}-")
    argv = [interpreter(), str(ROOT / "benchmarks" / "peer_programs.py"), name]
    environment = dict(
        os.environ, BENCH_BOOTSTRAP=server.bootstrap, BENCH_DIRECTORY=directory, BENCH_OUTPUT=output
    )
    process = subprocess.Popen(pinned(CLIENT_CORE, argv), env=environment, cwd=directory)
    words = contest.program.units_in(contest.megabytes)
    try:
        seconds, counted = watch(server.bootstrap, output, words)
        cpu = cpu_s(process.pid)
    finally:
        process.terminate()
        process.wait(60)
        shutil.rmtree(directory, ignore_errors=True)
    expected = contest.program.answer(contest.megabytes)
    right = as_numbers(streams.read_answer(server.bootstrap, output, expected)) == as_numbers(
        {key: str(int.from_bytes(value, "big")).encode() for key, value in dict(expected).items()}
    )
    return Outcome(name, words, round(counted / seconds), round(cpu / words * 1e6, 2), right)


def as_numbers(answer: Answer) -> dict[bytes, int]:
    """Counts that were written as decimal text."""
    return {key: int(value) for key, value in dict(answer).items()}


def watch(bootstrap: str, output: str, words: int) -> tuple[float, int]:
    """Seconds from the first output to the last, and how many came between."""
    consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": "none"})
    parts = [TopicPartition(output, part) for part in range(PARTITIONS)]
    began = moved = time.monotonic()
    first, last = 0, 0
    while last < words:
        time.sleep(0.1)
        try:
            seen = sum(consumer.get_watermark_offsets(part, 10)[1] for part in parts)
        except KafkaException:  # of a topic just made librdkafka may remember that nobody leads it
            seen = last
        now = time.monotonic()
        if seen == last and now - moved > STALLED_S:
            raise TimeoutError(f"{output}: {seen} of {words} words, and no more")
        if seen > last:
            if first == 0:
                began, first = now, seen
            moved, last = now, seen
    consumer.close()
    return moved - began, last - first


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=float, default=100, help="what streamkit counts")
    parser.add_argument("--peer-megabytes", type=float, default=2, help="what its peers count")
    parser.add_argument("--broker", choices=["kafka", "streamkit"], default="kafka")
    options = parser.parse_args()
    program = PROGRAMS["word-count"]
    small, large = (
        streams.Contest(program, size, "at_least_once", streams.COMMIT_INTERVAL_MS, 0)
        for size in (options.peer_megabytes, options.megabytes)
    )
    outcomes = []
    with broker(options.broker, streams.TIMERS) as server:
        streams.load(server.bootstrap, small)
        outcomes += [run_peer(name, server, small) for name in PEERS]
    with broker(options.broker, streams.TIMERS) as server:
        counts = streams.load(server.bootstrap, large)
        expected = program.answer(large.megabytes)
        ours = streams.run_contender("streamkit", server, large, counts, expected)
    result = {"about": about(), **vars(options), "streamkit": asdict(ours)}
    print(json.dumps({**result, "peers": [asdict(each) for each in outcomes]}, indent=1))
    for each in outcomes:
        ratio = ours.warm_units_per_s / each.words_per_s
        print(f"word count: streamkit does {ratio:.0f} x {each.contender}")
    sys.exit(not (ours.answer_right and all(each.answer_right for each in outcomes)))


if __name__ == "__main__":
    main()
