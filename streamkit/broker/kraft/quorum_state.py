"""quorum-state: the election state on disk, as JSON of version 1 (QuorumStateData).

Version 0, of quorums with a static voter list, is read too; it knows no directory ids.
"""

from __future__ import annotations

from typing import Any

import orjson

from streamkit.broker.kraft.ids import id_text, parse_id
from streamkit.broker.kraft.raft_types import ElectionState
from streamkit.broker.kraft.voters import ReplicaKey
from streamkit.common.errors import StorageError

FILE_NAME = "quorum-state"
VERSION = 1
NOBODY = -1


def encode_quorum_state(state: ElectionState) -> bytes:
    """The file's content."""
    voted = state.voted
    return orjson.dumps(
        {
            "leaderId": NOBODY if state.leader_id is None else state.leader_id,
            "leaderEpoch": state.epoch,
            "votedId": NOBODY if voted is None else voted.id,
            "votedDirectoryId": id_text(None if voted is None else voted.directory_id),
            "data_version": VERSION,
        }
    )


def decode_quorum_state(data: bytes) -> ElectionState:
    """Read the file. Raises StorageError: to guess could mean to vote twice."""
    try:
        values: dict[str, Any] = orjson.loads(data)
        if values["data_version"] not in (0, VERSION):
            raise ValueError(f"data_version is {values['data_version']}")
        leader, voted = int(values["leaderId"]), int(values["votedId"])
        directory = parse_id(values["votedDirectoryId"]) if values["data_version"] else None
        return ElectionState(
            int(values["leaderEpoch"]),
            None if leader == NOBODY else leader,
            None if voted == NOBODY else ReplicaKey(voted, directory),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise StorageError(f"quorum-state is damaged: {error}") from None
