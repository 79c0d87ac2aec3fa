"""What the judges share: a running broker, and Kafka's own tools."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Generator, Iterator
from pathlib import Path

import pytest

from streamkit.broker import child
from streamkit.testing.broker import Broker

KAFKA = Path(__file__).parent / "kafka"
TOOL_TIMEOUT_S = 120

KafkaTool = Callable[..., str]

FAILED = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item,
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Keep in mind what failed."""
    report = yield
    item.stash[FAILED] = report.failed
    return report


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """End the servers of a judge that failed: what it left on them is in its second run's way."""
    if item.stash[FAILED]:
        item.session._setupstate.teardown_exact(None)


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
