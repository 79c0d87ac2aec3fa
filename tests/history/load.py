"""The load: foreign clients of every kind on one broker, which are killed, frozen and replaced.

    python -m tests.history.load --seed 7 --seconds 30 [--keep DIR]

Each client is a process that writes its part of the history. Faults come by the seed: SIGKILL of a
client; a zombie, which is frozen while its heir takes over its ids, and then wakes up; SIGKILL of
the broker; a network that cuts, holds up, and delivers Produce requests late a second time. In the
end the faults cease, the chains run dry, and everything is read, then read again after one more
kill of the broker.
"""

from __future__ import annotations

import argparse
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient, NewTopic

from streamkit.testing.broker import Broker
from tests.foreign import until_answered
from tests.harness import ROOT, wait_for
from tests.history.checker import Verdict, check, history_of
from tests.history.clients.confluent import Reader, ends_of, key_of, partition_of
from tests.history.clients.plan import OPERATION_S, Plan, recorder_of
from tests.history.model import COMMITTED, UNCOMMITTED, Operation, Outcome, Poll
from tests.history.proxy import Proxy
from tests.history.view import FINAL
from tests.ports import free_ports

TOPICS = {"data": 4, "source": 2, "stream": 2, "chained": 3}
CONFIG = {
    "transaction.abort.timed.out.transaction.cleanup.interval.ms": "200",
    "group.min.session.timeout.ms": "1000",
    "log.segment.bytes": "65536",
    "auto.create.topics.enable": "false",
}
DOWN_S = 0.2
FAULT_S_MIN, FAULT_S_MAX = 0.8, 2.5
FROZEN_S = 3.0
HELD_S_MAX = 4.0
REPEATED = 5
"""So many late Produce requests come with each fault."""

FAULTS = ("kill broker", "kill broker", "kill client", "kill client", "zombie", "cut", "hold")
STUCK_S = 2 * OPERATION_S
"""A client that has noted nothing for so long is killed."""

CALM_S = 120.0
"""How long the end may take until chains are dry and no transaction is open."""

LOOK_S = 0.5
END_S = 2 * OPERATION_S


def keys_of(*topics: str) -> tuple[str, ...]:
    return tuple(f"{topic}-{index}" for topic in topics for index in range(TOPICS[topic]))


DATA, SOURCE, STREAM, CHAINED = (keys_of(topic) for topic in TOPICS)
EVERYTHING = keys_of(*TOPICS)
CAST: dict[str, tuple[str, str, tuple[str, ...], tuple[str, ...], str]] = {
    "send-rd": ("confluent", "send", (), DATA + SOURCE + STREAM, ""),
    "send-aio": ("aio", "send", (), DATA + SOURCE + STREAM, ""),
    "txn-rd-1": ("confluent", "transact", DATA, DATA, ""),
    "txn-rd-2": ("confluent", "transact", DATA, DATA, ""),
    "txn-aio": ("aio", "transact", DATA, DATA, ""),
    "chain-rd-1": ("confluent", "chain", SOURCE, CHAINED, "chain-rd"),
    "chain-rd-2": ("confluent", "chain", SOURCE, CHAINED, "chain-rd"),
    "chain-aio": ("aio", "chain", STREAM, CHAINED, "chain-aio"),
    "group-aio-1": ("aio", "group", DATA, (), "group-aio"),
    "group-aio-2": ("aio", "group", DATA, (), "group-aio"),
    "watch-rd": ("confluent", "watch", EVERYTHING, (), ""),
}
"""Client library, role, keys to read, keys to write, group."""


@dataclass(slots=True)
class Actor:
    """One client of the cast; its process is started anew whenever it ends."""

    name: str
    bootstrap: str
    directory: Path
    seed: int
    life: int = 0
    started: float = 0.0
    process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        library, role, reads, writes, group = CAST[self.name]
        self.life += 1
        self.started = time.time()
        plan = Plan(
            self.bootstrap, str(self.directory), self.name, self.life, role, self.seed, reads,
            writes, group,
        )  # fmt: skip
        module = f"tests.history.clients.{library}"
        with (self.directory / "clients.log").open("ab") as output:
            self.process = subprocess.Popen(
                [sys.executable, "-m", module, *plan.argv()],
                cwd=ROOT,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    def tend(self) -> bool:
        """Start it anew when it has ended, or has done nothing for long; whether it was stuck.

        librdkafka 2.16 waits without end for an answer whose broker it has struck off in between.
        """
        assert self.process is not None, "the load has begun"
        is_stuck = time.time() - max(self.started, self.written_at()) > STUCK_S
        if is_stuck:
            self.process.kill()
            self.process.wait()
        if self.process.poll() is not None:
            self.start()
        return is_stuck

    def written_at(self) -> float:
        """When it last noted something."""
        history = self.directory / f"{self.name}.{self.life}.jsonl"
        return history.stat().st_mtime if history.exists() else 0.0

    def send(self, number: signal.Signals) -> None:
        assert self.process is not None, "the load has begun"
        if self.process.poll() is None:
            self.process.send_signal(number)

    def end(self) -> None:
        """SIGTERM, and SIGKILL when that does not help."""
        assert self.process is not None, "the load has begun"
        self.send(signal.SIGTERM)
        try:
            self.process.wait(END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


@dataclass(slots=True)
class Load:
    """One seeded run against one broker of ours."""

    seed: int
    seconds: float
    directory: Path
    faults: Counter[str] = field(default_factory=Counter)
    actors: list[Actor] = field(default_factory=list)
    zombies: list[tuple[float, subprocess.Popen[bytes]]] = field(default_factory=list)

    def run(self) -> list[Operation]:
        """The whole history."""
        port = free_ports()
        proxy = Proxy(self.seed, port)
        address = proxy.address
        config = CONFIG | {"advertised.listeners": f"PLAINTEXT://{address}"}
        try:
            with Broker(str(self.directory / "broker"), config, port=port) as broker:
                create_topics(address)
                self.actors = [Actor(name, address, self.directory, self.seed) for name in CAST]
                try:
                    self._storm(broker, proxy)
                    self._calm(address)
                finally:
                    self._end()
                read_all(address, self.directory, 1)
                self._kill_broker(broker)
                read_all(address, self.directory, 2)
        finally:
            proxy.close()
        return history_of(sorted(self.directory.glob("*.jsonl")))

    def _storm(self, broker: Broker, proxy: Proxy) -> None:
        chance = random.Random(self.seed)
        for actor in self.actors:
            actor.start()
        ends = time.monotonic() + self.seconds
        next_fault = time.monotonic() + 2 * FAULT_S_MAX
        while time.monotonic() < ends:
            self._tend()
            if time.monotonic() > next_fault:
                self._fault(chance, broker, proxy)
                next_fault = time.monotonic() + chance.uniform(FAULT_S_MIN, FAULT_S_MAX)
        self.faults["late Produce"] = proxy.repeated

    def _tend(self) -> None:
        for actor in self.actors:
            self.faults[f"stuck {CAST[actor.name][0]}"] += actor.tend()
        for wakes_at, zombie in self.zombies:
            if wakes_at <= time.monotonic():
                zombie.send_signal(signal.SIGCONT)
        time.sleep(0.05)

    def _fault(self, chance: random.Random, broker: Broker, proxy: Proxy) -> None:
        kind = chance.choice(FAULTS)
        self.faults[kind] += 1
        actor = chance.choice(self.actors)
        with (self.directory / "faults.log").open("a") as log:
            log.write(f"{time.monotonic_ns()} {kind} {actor.name}.{actor.life}\n")
        if kind == "kill broker":
            self._kill_broker(broker)
        elif kind == "kill client":
            actor.send(signal.SIGKILL)
        elif kind == "zombie":
            self._freeze(actor)
        elif kind == "cut":
            proxy.cut()
        else:
            seconds = chance.uniform(0.2, HELD_S_MAX)
            proxy.hold(seconds)
            time.sleep(seconds)
        proxy.repeat(REPEATED)

    def _kill_broker(self, broker: Broker) -> None:
        broker.kill()
        time.sleep(DOWN_S)
        broker.start()

    def _freeze(self, actor: Actor) -> None:
        """Its heir begins at once; it itself goes on later and must be fenced."""
        assert actor.process is not None, "the load has begun"
        actor.send(signal.SIGSTOP)
        self.zombies.append((time.monotonic() + FROZEN_S, actor.process))
        actor.start()

    def _calm(self, bootstrap: str) -> None:
        """No more faults: senders end, chains run dry, no transaction stays open."""
        self._end_those(lambda role: role in {"send", "transact"})
        self._end_zombies()
        admin = AdminClient({"bootstrap.servers": bootstrap})
        self._wait(lambda: is_dry(bootstrap, admin), "the chains to run dry")
        began = time.time()
        self._wait(
            lambda: all(actor.written_at() > began for actor in self.actors),
            "every client to work again",
        )
        self._end_those(lambda _: True)
        self._wait(lambda: is_stable(admin), "the last stable offsets to reach the ends")

    def _end_those(self, is_meant: Callable[[str], bool]) -> None:
        for actor in self.actors[:]:
            if is_meant(CAST[actor.name][1]):
                self.actors.remove(actor)
                actor.end()

    def _wait(self, condition: Callable[[], bool], what: str) -> None:
        def look() -> bool:
            self._tend()
            time.sleep(LOOK_S)
            try:
                return condition()
            except (KafkaException, LookupError, TimeoutError):  # a killed broker is coming back
                return False

        wait_for(look, CALM_S, what)

    def _end_zombies(self) -> None:
        for _, process in self.zombies:
            process.kill()
            process.wait()
        self.zombies.clear()

    def _end(self) -> None:
        self._end_zombies()
        for actor in self.actors:
            if actor.process is not None:
                actor.process.kill()
                actor.process.wait()


def create_topics(bootstrap: str) -> None:
    admin = AdminClient({"bootstrap.servers": bootstrap})
    made = admin.create_topics([NewTopic(name, count, 1) for name, count in TOPICS.items()])
    for future in made.values():
        future.result(30)


def is_dry(bootstrap: str, admin: AdminClient) -> bool:
    """Whether what the chains have committed reaches the ends of their input."""
    ends = ends_of(admin, SOURCE + STREAM)
    for keys, group in ((SOURCE, "chain-rd"), (STREAM, "chain-aio")):
        reader = Reader(Plan(bootstrap, "", "dry", 1, FINAL, 0, group=group))
        found = reader.consumer.committed([partition_of(key) for key in keys], OPERATION_S)
        reader.consumer.close()
        if any(part.offset < ends[key_of(part)][2] for part in found):
            return False
    return True


def is_stable(admin: AdminClient) -> bool:
    """Whether no transaction is open anywhere."""
    return all(stable == latest for _, stable, latest in ends_of(admin, EVERYTHING).values())


def read_all(bootstrap: str, directory: Path, life: int) -> None:
    """Read everything from the start to the end, as readers of both kinds do."""
    admin = AdminClient({"bootstrap.servers": bootstrap})
    ends = until_answered(lambda: ends_of(admin, EVERYTHING))
    for isolation in (COMMITTED, UNCOMMITTED):
        plan = Plan(bootstrap, str(directory), f"final-{isolation}", life, FINAL, 0)
        reader = Reader(plan, isolation)
        reader.move(EVERYTHING)
        invocation = recorder_of(plan, isolation).invoke(FINAL)
        polls: list[Poll] = []

        def is_done(reader: Reader = reader, polls: list[Poll] = polls) -> bool:
            polls.append(reader.poll())
            positions = reader.consumer.position(reader.consumer.assignment())
            at = {f"{each.topic}-{each.partition}": each.offset for each in positions}
            return all(at[key] >= end for key, (_, _, end) in ends.items() if end)

        wait_for(is_done, CALM_S, f"the end of the logs, {isolation}")
        invocation.complete(Outcome.OK, polls)
        reader.consumer.close()


def judge(seed: int, seconds: float, directory: Path) -> tuple[Verdict, Load]:
    """Run a load and check its history."""
    load = Load(seed, seconds, directory)
    return check(load.run()), load


def main() -> int:
    """One run, told in lines."""
    options = argparse.ArgumentParser()
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--seconds", type=float, default=30.0)
    options.add_argument("--keep", type=Path, help="where the history goes, and stays")
    chosen = options.parse_args()
    directory = chosen.keep or Path(tempfile.mkdtemp(prefix="history-"))
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    began = time.monotonic()
    verdict, load = judge(chosen.seed, chosen.seconds, directory)
    print(f"seed {chosen.seed}: {dict(load.faults)}, {time.monotonic() - began:.0f} s, {directory}")
    print(verdict)
    return 1 if verdict.anomalies else 0


if __name__ == "__main__":
    sys.exit(main())
