"""Transfers between accounts, through kills of workers and of the broker: the books balance.

`examples/transfers.py` without cache and linger: each posting makes a committed statement of its
account. Read by librdkafka (committed records only), the statements of an account must be its
postings 1, 2, 3, ..., each of another transfer, with the right running balance; all transfers are
there, and the balances add up to 0.
"""

from __future__ import annotations

import json
import random
import threading
import time
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import confluent_kafka
import pytest

from streamkit.broker.child import EMBEDDED_DEFAULTS
from streamkit.broker.settings import BrokerSettings
from streamkit.testing.broker import Broker
from tests.foreign import create_topics, read_confluent
from tests.harness import WorkerProcess, wait_for
from tests.judges.crashes import QUICK, RUNNING, Killable, apache_kafka, live_through
from tests.judges.word_feed import group_lag

pytestmark = pytest.mark.judge

PROGRAM = "examples/transfers.py"
APPLICATION = "transfers"
REPARTITION = f"{APPLICATION}-accounts-repartition"
PARTITIONS = 4
TASKS = 2 * PARTITIONS
ACCOUNTS = 200
TRANSFERS_PER_S = 1_000
COMMIT_INTERVAL_MS = 100
IN_FLIGHT_MS = 2_000
"""How long a transaction may stay open beyond one commit interval: on a busy core, or while the
broker starts again."""
RESTORED_MAX = 2 * TRANSFERS_PER_S * (COMMIT_INTERVAL_MS + IN_FLIGHT_MS) // 1000 // PARTITIONS
DEFAULT_TIMERS = {
    "group.initial.rebalance.delay.ms": "3000",
    "group.streams.initial.rebalance.delay.ms": "3000",
}
SEED = 20_263
SETTINGS = {
    "processing.guarantee": "exactly_once_v2",
    "producer.linger.ms": "0",
    "statestore.cache.max.bytes": "0",
    "repartition.purge.interval.ms": "3600000",
    "commit.interval.ms": str(COMMIT_INTERVAL_MS),
}
WORKERS_AND_BROKER = "WWWWWWWWBWWWWWWWWB"
GAP_S = (2.0, 4.5)


@dataclass(frozen=True, slots=True)
class Transfer:
    """One that was acknowledged, or will be."""

    source: str
    target: str
    cents: int


class Bank:
    """Writes transfers at a steady rate from a thread of its own, with librdkafka."""

    def __init__(self, bootstrap: str) -> None:
        self.transfers: dict[str, Transfer] = {}
        self._chance = random.Random(SEED)
        self._failed: list[str] = []
        self._producer = confluent_kafka.Producer(
            {
                "bootstrap.servers": bootstrap,
                "linger.ms": 5,
                "enable.idempotence": True,
                "log_level": "0",
            }
        )
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, name="bank")

    def __enter__(self) -> Bank:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def finish(self) -> dict[str, Transfer]:
        """Stop; all transfers, when every one was acknowledged."""
        self._ended.set()
        self._thread.join()
        assert self._producer.flush(120) == 0
        assert self._failed == []
        return self.transfers

    def _run(self) -> None:
        began = time.monotonic()
        while not self._ended.wait(0.02):
            due = int((time.monotonic() - began) * TRANSFERS_PER_S)
            while len(self.transfers) < due:
                self._write()
            self._producer.poll(0)

    def _write(self) -> None:
        source, target = self._chance.sample(range(ACCOUNTS), 2)
        cents = self._chance.randrange(1, 10_000)
        transfer = Transfer(f"account-{source}", f"account-{target}", cents)
        number = f"transfer-{len(self.transfers)}"
        self.transfers[number] = transfer
        value = json.dumps(asdict(transfer)).encode()
        while True:
            try:
                self._producer.produce("transfers", value, number, on_delivery=self._done)
                return
            except BufferError:
                self._producer.poll(0.05)

    def _done(self, error: object, _message: object) -> None:
        if error is not None:
            self._failed.append(str(error))


def test_books_balance_on_our_broker(tmp_path: Path) -> None:
    with Broker() as broker:
        run(broker, tmp_path)


def test_books_balance_on_apache_kafka(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", QUICK) as broker:
        run(broker, tmp_path)


@pytest.mark.long
def test_books_balance_on_our_broker_with_kafkas_default_timers(tmp_path: Path) -> None:
    fields = BrokerSettings.model_fields
    timers = {key: str(fields[key.replace(".", "_")].default) for key in EMBEDDED_DEFAULTS}
    assert timers.items() >= DEFAULT_TIMERS.items()
    with Broker(config=timers) as broker:
        run(broker, tmp_path, patience_s=300)


@pytest.mark.long
def test_books_balance_on_apache_kafka_with_its_default_timers(tmp_path: Path) -> None:
    with apache_kafka(tmp_path / "kafka", DEFAULT_TIMERS) as broker:
        run(broker, tmp_path, patience_s=300)


def run(broker: Killable, directory: Path, patience_s: float = 90) -> None:
    create_topics(broker.bootstrap, PARTITIONS, "transfers", "statements")
    with (
        WorkerProcess(
            PROGRAM, broker.bootstrap, directory / "worker", processes=3, settings=SETTINGS
        ) as worker,
        Bank(broker.bootstrap) as bank,
    ):
        wait_for(lambda: len(worker.logged(RUNNING)) >= TASKS, patience_s, "running tasks")
        began = time.time()
        live_through(WORKERS_AND_BROKER, broker, worker, SEED, GAP_S)
        transfers = bank.finish()
        topics = {"transfers": PARTITIONS, REPARTITION: PARTITIONS}
        wait_for(
            lambda: group_lag(broker.bootstrap, APPLICATION, topics) == 0,
            patience_s,
            "the lag of 0",
        )
        seconds = time.time() - began
        status = worker.stop()
    restored = [int(match[2]) for _, match in worker.logged(RUNNING, began)]
    print(
        f"\n{len(transfers)} transfers in {seconds:.0f} s; events {WORKERS_AND_BROKER}; "
        f"tasks started again {len(restored)} times, at most {max(restored)} records restored"
    )
    check_books(broker.bootstrap, transfers)
    assert status == 0
    assert "Traceback" not in worker.output()
    assert max(restored) <= RESTORED_MAX


def check_books(bootstrap: str, transfers: Mapping[str, Transfer]) -> None:
    """Each account's statements, one after the other, against what it must have had."""
    owed: dict[str, dict[str, int]] = defaultdict(dict)
    for number, transfer in transfers.items():
        owed[transfer.source][number] = -transfer.cents
        owed[transfer.target][number] = transfer.cents
    balances: dict[str, int] = defaultdict(int)
    postings: dict[str, int] = defaultdict(int)
    for key, value in read_confluent(bootstrap, "statements", PARTITIONS):
        account, statement = (key or b"").decode(), json.loads(value or b"")
        number = statement["transfer"]
        assert number in owed[account], f"{number} is booked twice, or never was for {account}"
        balances[account] += owed[account].pop(number)
        postings[account] += 1
        assert statement["balance"] == balances[account], f"{account} after {number}"
        assert statement["postings"] == postings[account], f"{account} after {number}"
    missing = {account: sorted(left) for account, left in owed.items() if left}
    assert missing == {}
    assert sum(balances.values()) == 0
