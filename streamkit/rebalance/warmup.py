"""Warm-ups: a large stateful task moves when its new owner has caught up, and not before.

The assignor says where tasks are to run in the end. `hold_back` makes of it what holds for now: a
task that has to wait goes on running where it runs, and its new owner gets it as a warm-up, so many
at a time. `settled` is the way back: where tasks are meant to run, from what members were given.
The rules are KIP-441's (`acceptable.recovery.lag`, `max.warmup.replicas`), the task lists those of
KIP-1071. No wait is endless: `WarmUps` ends those that come no nearer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace

from streamkit.rebalance.assignor import AssignmentMember, Task, Tasks


@dataclass(frozen=True, slots=True)
class Move:
    """A task that is to go from one member to another."""

    task: Task
    owner: str
    heir: str


@dataclass(frozen=True, slots=True)
class HeldBack:
    """What holds for now, and the moves that wait for a warm-up's place."""

    target: Mapping[str, Tasks]
    queued: tuple[Move, ...] = ()


def settled(members: Collection[AssignmentMember]) -> list[AssignmentMember]:
    """The members as if each warm-up had been given already.

    A warm-up whose task runs nowhere any more stays one: whoever is nearest may take that task.
    """
    owners = {task: each.member_id for each in members for task in each.previous.active}
    heirs = {
        task: each.member_id
        for each in sorted(members, key=lambda each: each.member_id)
        for task in each.previous.warmup
        if task in owners
    }
    return [replace(each, previous=_settled(each, heirs)) for each in members]


def _settled(member: AssignmentMember, heirs: Mapping[Task, str]) -> Tasks:
    before, own = member.previous, member.member_id
    gone = frozenset(task for task in before.active if heirs.get(task, own) != own)
    gained = frozenset(task for task in before.warmup if heirs.get(task) == own)
    return Tasks((before.active - gone) | gained, before.standby | gone, before.warmup - gained)


def hold_back(
    final: Mapping[str, Tasks],
    members: Collection[AssignmentMember],
    waits: Callable[[Move], bool],
    replicas: int,
) -> HeldBack:
    """Keep the tasks that have to wait where they are, `replicas` of them warming up elsewhere.

    Within a process nothing waits: its members share the state on disk. Without a place to warm up
    nothing waits either.
    """
    if replicas == 0:
        return HeldBack(final)
    process_of = {each.member_id: each.process_id for each in members}
    owners = {task: each.member_id for each in members for task in each.previous.active}
    warming = {(task, each.member_id) for each in members for task in each.previous.warmup}
    moves = [
        Move(task, owners[task], heir)
        for heir, tasks in final.items()
        for task in tasks.active
        if task in owners and process_of[owners[task]] != process_of[heir]
    ]
    # Those under way come first: what they have done is not thrown away.
    moves.sort(key=lambda move: ((move.task, move.heir) not in warming, move.task))
    held = [move for move in moves if waits(move)]
    begun, queued = held[:replicas], held[replicas:]
    target = dict(final)
    siblings: dict[str, list[str]] = {}
    for member_id, process_id in process_of.items():
        siblings.setdefault(process_id, []).append(member_id)
    for move in held:
        task = frozenset((move.task,))
        for member_id in siblings[process_of[move.owner]]:
            target[member_id] = replace(target[member_id], standby=target[member_id].standby - task)
        owner, heir = target[move.owner], target[move.heir]
        target[move.owner] = replace(owner, active=owner.active | task)
        target[move.heir] = replace(heir, active=heir.active - task)
    for move in begun:
        heir = target[move.heir]
        target[move.heir] = replace(heir, warmup=heir.warmup | {move.task})
    return HeldBack(target, tuple(queued))


@dataclass(slots=True)
class _WarmUp:
    """How near it came, and since when it has come no nearer."""

    nearest: int | None
    since_ms: int
    is_over: bool = False


class WarmUps:
    """The warm-ups of a group, and which of them need no more waiting."""

    def __init__(self) -> None:
        self._known: dict[tuple[Task, str], _WarmUp] = {}

    def is_over(self, task: Task, member_id: str) -> bool:
        """Whether the member may have the task now."""
        known = self._known.get((task, member_id))
        return known is not None and known.is_over

    def look(
        self,
        warmups: Iterable[tuple[Task, str]],
        lag_of: Callable[[Task, str], int | None],
        lag_max: int,
        timeout_ms: int,
        now_ms: int,
    ) -> list[str]:
        """Note how far these are; a sentence for each that is over, for people."""
        known, self._known = self._known, {}
        ended = []
        for task, member_id in warmups:
            lag = lag_of(task, member_id)
            warmup = known.get((task, member_id)) or _WarmUp(None, now_ms)
            self._known[task, member_id] = warmup
            if lag is not None and (warmup.nearest is None or lag < warmup.nearest):
                warmup.nearest, warmup.since_ms = lag, now_ms
            name = f"task {task[0]}_{task[1]} on member {member_id}"
            stale_ms = now_ms - warmup.since_ms
            if lag is not None and lag <= lag_max:
                warmup.is_over = True
                ended.append(f"{name} is warm, {lag} offsets behind")
            elif warmup.is_over or stale_ms >= timeout_ms:
                warmup.is_over = True
                far = "says nothing of its offsets" if lag is None else f"is {lag} offsets behind"
                ended.append(
                    f"{name} {far} and came no nearer for {stale_ms} ms: it moves as it is"
                )
        return ended
