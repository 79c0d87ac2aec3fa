"""The states of a worker, and its listener (Kafka Streams' StateListener)."""

from __future__ import annotations

import asyncio

import pytest

import streamkit as sk
from streamkit.common.errors import StreamkitError
from streamkit.tasks.states import State, States


def heard_by(states: list[tuple[State, State]]) -> States:
    return States(lambda new, old: states.append((new, old)))


def test_listener_is_told_of_each_move_once() -> None:
    told: list[tuple[State, State]] = []
    states = heard_by(told)
    for state in (State.REBALANCING, State.REBALANCING, State.RUNNING, State.RUNNING):
        states.move(state)
    states.end(has_failed=False)
    assert [new for new, _ in told] == [
        State.REBALANCING, State.RUNNING, State.PENDING_SHUTDOWN, State.NOT_RUNNING,
    ]  # fmt: skip
    assert told[0][1] is State.CREATED


def test_failure_ends_in_error() -> None:
    states = States()
    states.move(State.REBALANCING)
    states.end(has_failed=True)
    assert states.current is State.ERROR


def test_move_that_cannot_be_is_a_bug() -> None:
    with pytest.raises(AssertionError, match=r"from State\.CREATED to State\.RUNNING"):
        States().move(State.RUNNING)


def test_listener_that_fails_harms_nobody(caplog: pytest.LogCaptureFixture) -> None:
    def listen(new: State, old: State) -> None:
        raise ValueError("deaf")

    states = States(listen)
    states.move(State.REBALANCING)
    assert states.current is State.REBALANCING
    assert "the listener of states failed at REBALANCING" in caplog.text


async def work(
    app: sk.App, told: list[State], tmp_path: object, *, is_poisoned: bool
) -> list[State]:
    """The states before, in and after the block."""
    async with sk.Broker() as broker:
        config = {"bootstrap.servers": broker.bootstrap}
        async with sk.client.Admin(config) as admin:
            await admin.create_topics([sk.client.NewTopic("lines", 2)])
        worker = app.worker(bootstrap=broker.bootstrap, config={"state.dir": f"{tmp_path}/state"})
        seen = [worker.state]
        try:
            async with worker, asyncio.timeout(30):
                while State.RUNNING not in told:  # noqa: ASYNC110  # as a program looks
                    await asyncio.sleep(0.02)
                seen.append(worker.state)
                if is_poisoned:
                    async with sk.client.Producer(config) as producer:
                        await producer.send("lines", b"poison")
                    while worker.state is State.RUNNING:  # noqa: ASYNC110  # as above
                        await asyncio.sleep(0.02)
        except StreamkitError as error:
            assert "below nothing" in str(error)  # noqa: PT017  # beside what follows
        return [*seen, worker.state]


@pytest.mark.parametrize("is_poisoned", [False, True])
def test_embedded_worker_goes_through_its_states(tmp_path: object, is_poisoned: bool) -> None:
    told: list[State] = []

    def fail(key: str, value: str) -> None:
        raise ValueError("below nothing")

    app = sk.App("states", on_state=lambda new, old: told.append(new))
    app.stream("lines", key=str, value=str).foreach(fail)
    seen = asyncio.run(work(app, told, tmp_path, is_poisoned=is_poisoned))
    last = State.ERROR if is_poisoned else State.NOT_RUNNING
    before = State.PENDING_ERROR if is_poisoned else State.PENDING_SHUTDOWN
    assert seen == [State.CREATED, State.RUNNING, last]
    assert told[0] is State.REBALANCING
    assert told[-2:] == [before, last]
    assert State.RUNNING in told
