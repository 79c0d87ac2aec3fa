"""What a client of the load is told, and the chance by which it chooses."""

from __future__ import annotations

import faulthandler
import json
import random
import signal
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from tests.history.model import COMMITTED
from tests.history.recorder import Recorder

OPERATION_S = 8.0
"""How long a client tries before it gives up on an operation, whose fate it then does not know."""

TRANSACTION_TIMEOUT_MS = 4_000
SESSION_TIMEOUT_MS = 3_000
ABORT_CHANCE = 0.1
MOVE_CHANCE = 1 / 64
"""How often a reader is given other partitions or positions."""

PAUSE_S_MAX = 0.06
FENCED_STATUS = 3
"""The exit status of a client that cannot go on and wants to be started anew."""


@dataclass(frozen=True, slots=True)
class Plan:
    """One life of one client."""

    bootstrap: str
    directory: str
    process: str
    life: int
    role: str
    seed: int
    reads: tuple[str, ...] = ()
    writes: tuple[str, ...] = ()
    group: str = ""

    def argv(self) -> list[str]:
        """The arguments of the client's module."""
        return [json.dumps(asdict(self))]

    @classmethod
    def from_argv(cls) -> Plan:
        data = json.loads(sys.argv[1])
        return cls(**{name: tuple(v) if isinstance(v, list) else v for name, v in data.items()})


class Chance:
    """The values that a client sends, and its choices."""

    def __init__(self, plan: Plan) -> None:
        self._plan = plan
        self._random = random.Random(f"{plan.seed}/{plan.process}/{plan.life}")
        self._count = 0

    def value(self) -> str:
        """A value that nobody sent before."""
        self._count += 1
        return f"{self._plan.process}.{self._plan.life}.{self._count}"

    def target(self) -> str:
        """One of the keys to write to."""
        return self._random.choice(self._plan.writes)

    def keys(self) -> list[str]:
        """Some of the keys to read, at least one."""
        count = 1 + self._random.randrange(len(self._plan.reads))
        return sorted(self._random.sample(self._plan.reads, count))

    def is_so(self, chance: float) -> bool:
        return self._random.random() < chance

    def up_to(self, count: int) -> int:
        """From 1 to `count`."""
        return 1 + self._random.randrange(count)

    def pause_s(self) -> float:
        return self._random.random() * PAUSE_S_MAX


class StopFlag:
    """Set by SIGTERM: finish the operation, then end. SIGUSR1 shows where the client is."""

    def __init__(self) -> None:
        self.is_set = False
        signal.signal(signal.SIGTERM, self._set)
        faulthandler.register(signal.SIGUSR1)

    def _set(self, *_: object) -> None:
        self.is_set = True


def recorder_of(plan: Plan, isolation: str = COMMITTED) -> Recorder:
    return Recorder(Path(plan.directory), plan.process, plan.life, isolation)


def split(key: str) -> tuple[str, int]:
    """The topic and the partition of a key."""
    topic, _, partition = key.rpartition("-")
    return topic, int(partition)
