"""The checker finds each anomaly in a history that has it, and none in one that is sound."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from tests.history.checker import check
from tests.history.cycles import components
from tests.history.model import (
    COMMITTED,
    INFINITE_NS,
    UNCOMMITTED,
    Commit,
    Committed,
    Ends,
    Operation,
    Outcome,
    Poll,
    Send,
    Step,
    read_history,
)
from tests.history.recorder import Recorder
from tests.history.view import FINAL

OK, FAIL, INFO = Outcome.OK, Outcome.FAIL, Outcome.INFO
A, B = "data-7", "data-8"


class History:
    """A history being made up, one operation after the other."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._clock = itertools.count(1_000, 10)

    def add(
        self,
        process: str,
        *steps: Step,
        outcome: Outcome = OK,
        kind: str = "txn",
        isolation: str = COMMITTED,
        life: int = 3,
    ) -> None:
        begun, done = next(self._clock), next(self._clock)
        if outcome is INFO:
            done = INFINITE_NS
        self.operations.append(
            Operation(process, life, kind, outcome, begun, done, isolation, steps)
        )

    def found(self) -> list[str]:
        return list(check(self.operations).anomalies)


@pytest.fixture
def history() -> History:
    return History()


def poll(key: str, *rows: tuple[int, str], is_moved: bool = False) -> Poll:
    return Poll({key: rows}, is_moved)


def test_sound_history_shows_nothing(history: History) -> None:
    history.add("w1", Send(A, "x", 40), Send(B, "y", 70))
    history.add("w2", Send(A, "gone", 42), outcome=FAIL)
    history.add("w1", Send(A, "z", 44), Commit("g", {"data-7": 12}))
    history.add("r", Ends({A: (40, 46, 46)}))
    history.add("r", poll(A, (40, "x"), (44, "z")), Committed("g", {"data-7": 12}))
    history.add("u", poll(A, (40, "x"), (42, "gone"), (44, "z")), isolation=UNCOMMITTED)
    history.add("f", Poll({A: ((40, "x"), (44, "z")), B: ((70, "y"),)}), kind=FINAL)
    assert history.found() == []


def test_offset_with_two_values(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("w2", Send(A, "y", 41))
    history.add("r", poll(A, (40, "y")))
    assert "inconsistent offsets" in history.found()


def test_value_at_two_offsets(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("r", poll(A, (40, "x"), (41, "x")))
    assert history.found() == ["duplicate"]


def test_value_that_nobody_sent(history: History) -> None:
    history.add("r", poll(A, (40, "x")))
    assert history.found() == ["never written"]


def test_value_in_another_partition(history: History) -> None:
    history.add("w", Send(A, "x"), outcome=INFO)
    history.add("r", poll(B, (40, "x")))
    assert history.found() == ["never written"]


def test_committed_reader_gets_a_failed_write(history: History) -> None:
    history.add("w", Send(A, "x", 40), outcome=FAIL)
    history.add("r", poll(A, (40, "x")))
    assert history.found() == ["aborted read (G1a)"]


def test_uncommitted_reader_may_get_a_failed_write(history: History) -> None:
    history.add("w", Send(A, "x", 40), outcome=FAIL)
    history.add("r", poll(A, (40, "x")), isolation=UNCOMMITTED)
    assert history.found() == []


def test_failed_operation_polls_committed_records_too(history: History) -> None:
    history.add("w", Send(A, "x", 40), outcome=FAIL)
    history.add("r", poll(A, (40, "x")), outcome=FAIL)
    assert history.found() == ["aborted read (G1a)"]


def test_transaction_polls_its_own_write(history: History) -> None:
    history.add("w", Send(A, "x", 40), poll(A, (40, "x")))
    assert history.found() == ["precommitted read"]


def test_committed_write_below_what_was_read_is_lost(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("w2", Send(A, "y", 41))
    history.add("r", poll(A, (41, "y"), is_moved=True))
    assert history.found() == ["lost write"]


def test_committed_write_beyond_what_was_read_is_not_lost(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("w2", Send(A, "y", 41))
    history.add("r", poll(A, (40, "x")))
    assert history.found() == []


def test_transaction_is_torn(history: History) -> None:
    history.add("w", Send(A, "x"), Send(B, "y"), outcome=INFO)
    history.add("r", poll(A, (40, "x")))
    assert history.found() == ["lost write"]


def test_unknown_transaction_may_be_there_or_not(history: History) -> None:
    history.add("w", Send(A, "x"), Send(B, "y"), outcome=INFO)
    assert history.found() == []
    history.add("r", poll(A, (40, "x")), poll(B, (70, "y")))
    assert history.found() == []


def test_acknowledged_write_is_not_there_in_the_end(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("f", poll(A), kind=FINAL)
    assert history.found() == ["unseen"]


@pytest.mark.parametrize("rows", [((41, "y"), (40, "x")), ((40, "x"), (42, "z"))])
def test_poll_goes_back_or_skips(history: History, rows: tuple[tuple[int, str], ...]) -> None:
    for value, offset in (("x", 40), ("y", 41), ("z", 42)):
        history.add("w", Send(A, value, offset))
    history.add("r", poll(A, *rows))
    history.add("r2", poll(A, (40, "x"), (41, "y"), (42, "z")))
    assert history.found() == ["skipped or non-monotonic poll"]


def test_polls_of_one_process_skip_unless_it_was_moved(history: History) -> None:
    for value, offset in (("x", 40), ("y", 41), ("z", 42)):
        history.add("w", Send(A, value, offset))
    history.add("r2", poll(A, (40, "x"), (41, "y"), (42, "z")))
    history.add("r", poll(A, (40, "x")))
    history.add("r", poll(A, (42, "z"), is_moved=True))
    history.add("r", poll(A, (40, "x")), life=4)
    assert history.found() == []
    history.add("r", poll(A, (42, "z")), life=4)
    assert history.found() == ["skipped or non-monotonic poll"]


def test_uncommitted_reader_leaves_out_an_aborted_record(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("w2", Send(A, "gone", 41), outcome=FAIL)
    history.add("w", Send(A, "z", 42))
    rows = ((40, "x"), (42, "z"))
    history.add("r", poll(A, *rows))
    assert history.found() == []
    history.add("u", poll(A, *rows), isolation=UNCOMMITTED)
    assert history.found() == ["skipped or non-monotonic poll"]


def test_sends_of_one_process_change_places(history: History) -> None:
    history.add("w", Send(A, "x", 41))
    history.add("w", Send(A, "y", 40))
    assert history.found() == ["non-monotonic send"]


def test_transactions_read_each_other(history: History) -> None:
    history.add("w1", Send(A, "x", 40), poll(B, (70, "y")))
    history.add("w2", Send(B, "y", 70), poll(A, (40, "x")))
    assert history.found() == ["circular information flow (G1c)"]


def test_transactions_read_each_other_in_one_direction(history: History) -> None:
    history.add("w1", Send(A, "x", 40))
    history.add("w2", Send(B, "y", 70), poll(A, (40, "x")))
    history.add("w3", Send(A, "z", 41), poll(B, (70, "y")))
    assert history.found() == []


@pytest.mark.parametrize("bounds", [(39, 45, 46), (40, 44, 46), (40, 45, 45)])
def test_ends_run_backwards(history: History, bounds: tuple[int, int, int]) -> None:
    history.add("r", Ends({A: (40, 45, 46)}), kind="ends")
    history.add("r2", Ends({A: bounds}), kind="ends")
    assert history.found() == ["receding ends"]


def test_last_stable_offset_lies_before_what_was_read(history: History) -> None:
    history.add("w", Send(A, "x", 40))
    history.add("r", poll(A, (40, "x")))
    history.add("r2", Ends({A: (40, 40, 41)}), kind="ends")
    assert history.found() == ["receding ends"]


def test_ends_asked_before_the_others_were_known(history: History) -> None:
    history.add("r", Ends({A: (40, 45, 46)}), kind="ends")
    first = history.operations.pop()
    history.add("r2", Ends({A: (40, 44, 44)}), kind="ends")
    second = history.operations[-1]
    late = Operation(
        "r", 3, "ends", OK, second.invoked_ns, second.completed_ns, COMMITTED, first.steps
    )
    history.operations.append(late)
    assert history.found() == []


def test_group_loses_a_commit(history: History) -> None:
    history.add("m1", Commit("g", {A: 12}), kind="commit")
    history.add("m2", Committed("g", {A: 11}), kind="committed")
    assert history.found() == ["lost commit"]


def test_unknown_commit_may_be_missing(history: History) -> None:
    history.add("m1", Commit("g", {A: 12}), kind="commit", outcome=INFO)
    history.add("m2", Committed("g", {A: 11}), kind="committed")
    assert history.found() == []


SOURCE_ROWS = ((40, "x"), (41, "y"))


@pytest.mark.parametrize(
    "made",
    [
        ((90, "c1<data-7@40"), (91, "c2<data-7@40"), (92, "c3<data-7@41")),
        ((90, "c1<data-7@40"),),
        ((90, "c1<data-7@40"), (91, "c2<data-7@41"), (92, "c3<data-7@99")),
    ],
    ids=["twice", "never", "from nothing"],
)
def test_chain_breaks(history: History, made: tuple[tuple[int, str], ...]) -> None:
    for offset, value in SOURCE_ROWS:
        history.add("w", Send(A, value, offset))
    for offset, value in made:
        history.add("c", Send("out-4", value, offset))
    history.add("f", Poll({A: SOURCE_ROWS, "out-4": made}), kind=FINAL)
    assert history.found() == ["broken chain"]


def test_chain_brings_each_record_out_once(history: History) -> None:
    made = ((90, "c1<data-7@40"), (91, "c2<data-7@41"))
    for offset, value in SOURCE_ROWS:
        history.add("w", Send(A, value, offset))
    for offset, value in made:
        history.add("c", Send("out-4", value, offset))
    history.add("f", Poll({A: SOURCE_ROWS, "out-4": made}), kind=FINAL)
    assert history.found() == []


def test_components_are_the_circles() -> None:
    edges = {11: {12}, 12: {13, 15}, 13: {11}, 15: {16}, 16: {17}, 17: {16}, 20: {21}}
    assert sorted(components(edges)) == [[11, 12, 13], [16, 17]]


def test_long_circle_needs_no_recursion() -> None:
    count = 5_000
    edges = {node: {(node + 1) % count} for node in range(count)}
    assert components(edges) == [list(range(count))]


def test_recorded_operations_are_read_back(tmp_path: Path) -> None:
    steps = [
        Send(A, "x", 40),
        Poll({B: ((70, "y"),)}, True),
        Commit("g", {A: 12}),
        Committed("g", {A: 11}),
        Ends({A: (40, 45, 46)}),
    ]
    recorder = Recorder(tmp_path, "w", 5, UNCOMMITTED)
    recorder.invoke("txn", [Send(A, "x")]).complete(FAIL, steps)
    recorder.invoke("txn", [Send(A, "z")])
    lines = (tmp_path / "w.5.jsonl").read_text().splitlines()
    first, second = read_history([*lines, '{"type": "invoke", "proc'])
    assert (first.process, first.life, first.kind, first.outcome) == ("w", 5, "txn", FAIL)
    assert first.isolation == UNCOMMITTED
    assert first.steps == tuple(steps)
    assert first.invoked_ns < first.completed_ns < INFINITE_NS
    assert (second.outcome, second.completed_ns) == (INFO, INFINITE_NS)
    assert second.sends() == [Send(A, "z")]
    assert json.loads(lines[0])["type"] == "invoke"
