"""The `uniform` assignor: equal numbers of partitions, few of them moved (UniformAssignor).

When all members subscribe to the same, each has a quota; what it has above it goes to those below.
Otherwise `uneven` balances topic by topic.
"""

from __future__ import annotations

from streamkit.broker.coordinators.group.consumer.assignors import uneven
from streamkit.broker.coordinators.group.consumer.assignors.spec import (
    Assignment,
    AssignmentSpec,
)
from streamkit.broker.coordinators.group.consumer.model import Partition

NAME = "uniform"


def assign(spec: AssignmentSpec) -> Assignment:
    """Every partition to one subscriber of its topic."""
    if not spec.members:
        return {}
    return _Quotas(spec).assign() if spec.is_homogeneous else uneven.assign(spec)


class _Quotas:
    """The assignment of a group whose members subscribe to the same."""

    def __init__(self, spec: AssignmentSpec) -> None:
        self._spec = spec
        self._topics = spec.members[0].topics
        wanted = [
            (topic_id, index)
            for topic_id in sorted(self._topics)
            for index in range(spec.partitions[topic_id])
        ]
        held = {partition for each in spec.members for partition in each.assigned}
        self._wanted = frozenset(wanted)
        self._free: list[Partition] = [each for each in wanted if each not in held]
        self._least, self._extra = divmod(len(wanted), len(spec.members))
        self._target: dict[str, set[Partition]] = {}
        self._missing: list[tuple[str, int]] = []

    def assign(self) -> Assignment:
        for place, member in enumerate(self._spec.members):
            others = len(self._spec.members) - place
            self._keep(member.member_id, sorted(member.assigned & self._wanted), others)
        free = iter(self._free)
        for member_id, count in self._missing:
            self._target[member_id].update(
                partition for _, partition in zip(range(count), free, strict=False)
            )
        return {member_id: frozenset(each) for member_id, each in self._target.items()}

    def _keep(self, member_id: str, held: list[Partition], left: int) -> None:
        """What the member has, up to its quota; one more than the least is for some only.

        Who has no use for that one passes it on, unless it is among the `left` last ones that
        must take it.
        """
        takes_extra = self._extra > 0
        quota = self._least + takes_extra
        self._free += held[quota:]
        missing = max(quota - len(held), 0)
        if missing and takes_extra and left > self._extra:
            missing -= 1
            takes_extra = False
        self._extra -= takes_extra
        self._target[member_id] = set(held[:quota])
        if missing:
            self._missing.append((member_id, missing))
