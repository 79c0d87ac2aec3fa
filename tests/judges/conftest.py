"""What the judges share: a running broker, and Kafka's own tools."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streamkit.broker import child
from streamkit.testing.broker import Broker

KAFKA = Path(__file__).parent / "kafka"
TOOL_TIMEOUT_S = 120

KafkaTool = Callable[..., str]


@pytest.fixture(scope="session", autouse=True)
def patience() -> Iterator[None]:
    """A machine with many servers at once stalls: ours may take longer to start and to stop."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(child, "READY_WAIT_S", 120.0)
        patch.setattr(child, "STOP_WAIT_S", 60.0)
        yield


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """Our broker, in a process of its own."""
    with Broker() as running:
        yield running


@pytest.fixture(scope="session")
def kafka_tool() -> KafkaTool:
    """Runs one of Kafka's command-line tools and gives its output; fails when the tool does."""

    def run(*arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run(
            [str(KAFKA), *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=TOOL_TIMEOUT_S,
            check=False,
        )
        assert done.returncode == 0, f"{arguments}: {done.stdout}\n{done.stderr}"
        return done.stdout

    return run
