"""The voters of the quorum: who they are, where they listen, and what a majority is.

A voter is known by its id and the id of its directory: a wiped disk is another voter (KIP-853).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from uuid import UUID


@dataclass(frozen=True, slots=True)
class ReplicaKey:
    """One replica of the metadata log; the directory is None where it is not known."""

    id: int
    directory_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class VoterEndpoint:
    """Where a voter listens, by the listener's name."""

    name: str
    host: str
    port: int


@dataclass(frozen=True, slots=True)
class Voter:
    """One member of the voter set."""

    key: ReplicaKey
    endpoints: tuple[VoterEndpoint, ...] = ()
    kraft_version_min: int = 0
    kraft_version_max: int = 1


@dataclass(frozen=True, slots=True)
class VoterSet:
    """All voters by id."""

    voters: Mapping[int, Voter]

    @classmethod
    def of(cls, *voters: Voter) -> VoterSet:
        """The set of these voters, in order of id."""
        return cls({each.key.id: each for each in sorted(voters, key=lambda each: each.key.id)})

    @property
    def majority(self) -> int:
        """How many voters decide."""
        return len(self.voters) // 2 + 1

    @property
    def keys(self) -> tuple[ReplicaKey, ...]:
        """The voters in order of id."""
        return tuple(each.key for each in self.voters.values())

    def is_voter(self, key: ReplicaKey) -> bool:
        """Whether this replica votes; a directory that one side does not know matches any."""
        voter = self.voters.get(key.id)
        if voter is None:
            return False
        known = voter.key.directory_id
        return known is None or key.directory_id is None or known == key.directory_id

    def is_only_voter(self, key: ReplicaKey) -> bool:
        """Whether this replica is the whole quorum."""
        return len(self.voters) == 1 and self.is_voter(key)

    def others(self, key: ReplicaKey) -> tuple[ReplicaKey, ...]:
        """All voters but this one."""
        return tuple(each for each in self.keys if each.id != key.id)
