"""The anomalies that no history of Kafka's clients may show; each is a sentence per finding."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator

from tests.history.cycles import components
from tests.history.model import (
    COMMITTED,
    INFINITE_NS,
    Commit,
    Committed,
    Ends,
    Operation,
    Outcome,
    Poll,
    Send,
)
from tests.history.view import FINAL, View, polls

Findings = Iterator[str]


def inconsistent_offsets(view: View) -> Findings:
    """One offset, two values."""
    for (key, offset), values in sorted(view.places.items()):
        if len(values) > 1:
            yield f"{key} offset {offset} holds {sorted(values)}"


def duplicates(view: View) -> Findings:
    """One value at two offsets: every producer is idempotent."""
    for value, places in sorted(view.found_at.items()):
        if len(places) > 1:
            yield f"{value} lies at {sorted(places)}"


def unwritten(view: View) -> Findings:
    """A value that nobody sent."""
    for operation, poll in polls(view):
        for key, records in poll.records.items():
            for offset, value in records:
                send = view.sends.get(value)
                if send is None or send.key != key:
                    yield f"{operation}: {value} at {key} offset {offset} was not sent there"


def aborted_reads(view: View) -> Findings:
    """G1a: committed records hold a value whose write failed."""
    for operation, poll in polls(view):
        if operation.isolation != COMMITTED:
            continue
        for key, records in poll.records.items():
            for offset, value in records:
                writer = view.writers.get(value)
                if writer is not None and writer.outcome is Outcome.FAIL:
                    yield f"{operation}: {value} at {key} offset {offset} is of the failed {writer}"


def precommitted_reads(view: View) -> Findings:
    """An operation polls what it sent itself, before it was committed."""
    for operation in view.operations:
        own = {send.value for send in operation.sends()}
        if operation.isolation != COMMITTED:
            continue
        for poll in operation.polls():
            for key, records in poll.records.items():
                for offset, value in records:
                    if value in own:
                        yield f"{operation} polled its own {value} at {key} offset {offset}"


def lost_writes(view: View) -> Findings:
    """Readers got further, but nobody read a committed value; so are torn transactions."""
    highest = _highest_read(view)
    for operation in view.operations:
        if not view.is_committed(operation):
            continue
        for send in operation.sends():
            if send.value in view.polled[COMMITTED]:
                continue
            offset = send.offset
            if offset is None:
                yield f"{operation}: a sibling of {send.value} was read, it itself never was"
            elif offset <= highest.get(send.key, -1):
                yield f"{operation}: {send.value} at {send.key} offset {offset} was never read"


def _highest_read(view: View) -> dict[str, int]:
    highest: dict[str, int] = {}
    for operation, poll in polls(view):
        if operation.isolation == COMMITTED:
            for key, records in poll.records.items():
                last = max((offset for offset, _ in records), default=-1)
                highest[key] = max(highest.get(key, -1), last)
    return highest


def unseen(view: View) -> Findings:
    """Acknowledged, but not there when everything was read in the end."""
    finals = [each for each in view.operations if each.kind == FINAL]
    for isolation in view.polled:
        reads = [each for each in finals if each.isolation == isolation]
        for read in reads:
            seen = {
                value
                for poll in read.polls()
                for records in poll.records.values()
                for _, value in records
            }
            for operation in view.operations:
                if operation.outcome is Outcome.OK and operation.completed_ns < read.invoked_ns:
                    for send in operation.sends():
                        if send.value not in seen:
                            yield f"{read}: {send.value} of {operation} is not there"


def misordered_polls(view: View) -> Findings:
    """A reader went back or left something out without having been moved."""
    last: dict[tuple[str, int, str], int] = {}
    for operation in view.operations:
        dense = view.dense[operation.isolation]
        for poll in operation.polls():
            if poll.is_moved:
                _forget(last, operation)
            for key, records in poll.records.items():
                for offset, value in records:
                    reader = (operation.process, operation.life, key)
                    index = dense[key][offset]
                    delta = index - last.get(reader, index - 1)
                    last[reader] = index
                    if delta != 1:
                        verb = "went back" if delta < 1 else f"left out {delta - 1}"
                        yield f"{operation} {verb} at {key} offset {offset}, {value}"


def _forget(last: dict[tuple[str, int, str], int], operation: Operation) -> None:
    for reader in [each for each in last if each[:2] == (operation.process, operation.life)]:
        del last[reader]


def misordered_sends(view: View) -> Findings:
    """A producer's records changed places."""
    last: dict[tuple[str, int, str], tuple[int, Send]] = {}
    for operation in view.operations:
        for send in operation.sends():
            for key, offset in sorted(view.found_at.get(send.value, ())):
                writer = (operation.process, operation.life, key)
                before = last.get(writer)
                if before is not None and offset <= before[0]:
                    yield f"{operation}: {send.value} at {key} offset {offset} is before {before}"
                last[writer] = (offset, send)


def circular_flow(view: View) -> Findings:
    """G1c: committed transactions that read each other's writes in a circle."""
    number = {id(each): index for index, each in enumerate(view.operations)}
    edges: dict[int, set[int]] = defaultdict(set)
    for reader, poll in polls(view):
        if reader.isolation != COMMITTED or not reader.sends() or not view.is_committed(reader):
            continue
        for records in poll.records.values():
            for _, value in records:
                writer = view.writers.get(value)
                if writer is not None and writer is not reader:
                    edges[number[id(writer)]].add(number[id(reader)])
    for circle in components(edges):
        yield " → ".join(str(view.operations[index]) for index in circle)


def receding_ends(view: View) -> Findings:
    """Earliest, last stable and latest offset run backwards, or lie before what was read."""
    names = ("earliest", "last stable", "latest")
    facts: list[tuple[int, int, str, tuple[int, int, int]]] = []
    for operation in view.operations:
        for step in operation.steps:
            if isinstance(step, Ends) and operation.outcome is Outcome.OK:
                for key, bounds in step.bounds.items():
                    facts.append((operation.completed_ns, operation.invoked_ns, key, bounds))
            elif isinstance(step, Poll):
                done_ns = operation.completed_ns
                facts += [(done_ns, INFINITE_NS, *each) for each in _reached(operation, step)]
    lowest: dict[str, tuple[int, int, int]] = {}
    for _, is_asked, key, bounds in _in_real_time(facts):
        known = lowest.get(key, (0, 0, 0))
        if is_asked:
            for name, before, now in zip(names, known, bounds, strict=True):
                if now < before:
                    yield f"{key}: {name} offset {now} after {before}"
        else:
            lowest[key] = tuple(map(max, known, bounds))  # type: ignore[assignment]


def _reached(operation: Operation, poll: Poll) -> Iterator[tuple[str, tuple[int, int, int]]]:
    """What a poll proves about the ends of what it read."""
    for key, records in poll.records.items():
        if records:
            end = records[-1][0] + 1
            yield key, (0, end if operation.isolation == COMMITTED else 0, end)


def _in_real_time(
    facts: list[tuple[int, int, str, tuple[int, int, int]]],
) -> list[tuple[int, bool, str, tuple[int, int, int]]]:
    """What was known at a time comes before the questions asked later: (time, is asked, …)."""
    told = [(done, False, key, bounds) for done, _, key, bounds in facts if done < INFINITE_NS]
    asked = [(begun, True, key, bounds) for _, begun, key, bounds in facts if begun < INFINITE_NS]
    return sorted(told + asked, key=lambda each: each[:2])


def lost_commits(view: View) -> Findings:
    """A group's offset is lower than one whose commit was acknowledged before."""
    events: list[tuple[int, bool, str, dict[str, int]]] = []
    for operation in view.operations:
        for step in operation.steps:
            if operation.outcome is not Outcome.OK:
                continue
            if isinstance(step, Commit):
                events.append((operation.completed_ns, False, step.group, dict(step.offsets)))
            elif isinstance(step, Committed):
                events.append((operation.invoked_ns, True, step.group, dict(step.offsets)))
    highest: dict[tuple[str, str], int] = {}
    for _, is_asked, group, offsets in sorted(events, key=lambda each: each[:2]):
        for key, offset in offsets.items():
            known = highest.get((group, key), 0)
            if is_asked and offset < known:
                yield f"group {group} {key}: offset {offset} after {known} was committed"
            elif not is_asked:
                highest[group, key] = max(known, offset)


def broken_chains(view: View) -> Findings:
    """A source record that came out of a consume-transform-produce chain twice, or not at all.

    Such a chain sends `value<key@offset`: where its input lay.
    """
    finals = [e for e in view.operations if e.kind == FINAL and e.isolation == COMMITTED]
    for final in finals:
        made: dict[str, list[str]] = defaultdict(list)
        source: dict[str, str] = {}
        for poll in final.polls():
            for key, records in poll.records.items():
                for offset, value in records:
                    if "<" in value:
                        made[value.partition("<")[2]].append(value)
                    else:
                        source[f"{key}@{offset}"] = value
        chained = {_topic_of(origin) for origin in made}
        for origin, outputs in sorted(made.items()):
            if len(outputs) > 1:
                yield f"{final}: {origin} came out as {outputs}"
            if origin not in source:
                yield f"{final}: {outputs} came out of {origin}, which holds nothing"
        for origin, value in source.items():
            if _topic_of(origin) in chained and origin not in made:
                yield f"{final}: {origin}, {value}, never came out"


def _topic_of(origin: str) -> str:
    return origin.partition("@")[0].rpartition("-")[0]


ANOMALIES: dict[str, Callable[[View], Findings]] = {
    "inconsistent offsets": inconsistent_offsets,
    "duplicate": duplicates,
    "never written": unwritten,
    "aborted read (G1a)": aborted_reads,
    "precommitted read": precommitted_reads,
    "lost write": lost_writes,
    "unseen": unseen,
    "skipped or non-monotonic poll": misordered_polls,
    "non-monotonic send": misordered_sends,
    "circular information flow (G1c)": circular_flow,
    "receding ends": receding_ends,
    "lost commit": lost_commits,
    "broken chain": broken_chains,
}
