"""The APIs of Kafka 4.3: their keys, their stable versions, their first flexible version.

The numbers are those of Kafka's `ApiKeys` and of the message schemas; a test compares them with
kio's. Nothing here loads a message.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final, NamedTuple


class ApiKey(IntEnum):
    """An API by Kafka's name for it."""

    PRODUCE = 0
    FETCH = 1
    LIST_OFFSETS = 2
    METADATA = 3
    OFFSET_COMMIT = 8
    OFFSET_FETCH = 9
    FIND_COORDINATOR = 10
    JOIN_GROUP = 11
    HEARTBEAT = 12
    LEAVE_GROUP = 13
    SYNC_GROUP = 14
    DESCRIBE_GROUPS = 15
    LIST_GROUPS = 16
    SASL_HANDSHAKE = 17
    API_VERSIONS = 18
    CREATE_TOPICS = 19
    DELETE_TOPICS = 20
    DELETE_RECORDS = 21
    INIT_PRODUCER_ID = 22
    OFFSET_FOR_LEADER_EPOCH = 23
    ADD_PARTITIONS_TO_TXN = 24
    ADD_OFFSETS_TO_TXN = 25
    END_TXN = 26
    WRITE_TXN_MARKERS = 27
    TXN_OFFSET_COMMIT = 28
    DESCRIBE_ACLS = 29
    CREATE_ACLS = 30
    DELETE_ACLS = 31
    DESCRIBE_CONFIGS = 32
    ALTER_CONFIGS = 33
    ALTER_REPLICA_LOG_DIRS = 34
    DESCRIBE_LOG_DIRS = 35
    SASL_AUTHENTICATE = 36
    CREATE_PARTITIONS = 37
    CREATE_DELEGATION_TOKEN = 38
    RENEW_DELEGATION_TOKEN = 39
    EXPIRE_DELEGATION_TOKEN = 40
    DESCRIBE_DELEGATION_TOKEN = 41
    DELETE_GROUPS = 42
    ELECT_LEADERS = 43
    INCREMENTAL_ALTER_CONFIGS = 44
    ALTER_PARTITION_REASSIGNMENTS = 45
    LIST_PARTITION_REASSIGNMENTS = 46
    OFFSET_DELETE = 47
    DESCRIBE_CLIENT_QUOTAS = 48
    ALTER_CLIENT_QUOTAS = 49
    DESCRIBE_USER_SCRAM_CREDENTIALS = 50
    ALTER_USER_SCRAM_CREDENTIALS = 51
    VOTE = 52
    BEGIN_QUORUM_EPOCH = 53
    END_QUORUM_EPOCH = 54
    DESCRIBE_QUORUM = 55
    ALTER_PARTITION = 56
    UPDATE_FEATURES = 57
    ENVELOPE = 58
    FETCH_SNAPSHOT = 59
    DESCRIBE_CLUSTER = 60
    DESCRIBE_PRODUCERS = 61
    BROKER_REGISTRATION = 62
    BROKER_HEARTBEAT = 63
    UNREGISTER_BROKER = 64
    DESCRIBE_TRANSACTIONS = 65
    LIST_TRANSACTIONS = 66
    ALLOCATE_PRODUCER_IDS = 67
    CONSUMER_GROUP_HEARTBEAT = 68
    CONSUMER_GROUP_DESCRIBE = 69
    CONTROLLER_REGISTRATION = 70
    GET_TELEMETRY_SUBSCRIPTIONS = 71
    PUSH_TELEMETRY = 72
    ASSIGN_REPLICAS_TO_DIRS = 73
    LIST_CONFIG_RESOURCES = 74
    DESCRIBE_TOPIC_PARTITIONS = 75
    SHARE_GROUP_HEARTBEAT = 76
    SHARE_GROUP_DESCRIBE = 77
    SHARE_FETCH = 78
    SHARE_ACKNOWLEDGE = 79
    ADD_RAFT_VOTER = 80
    REMOVE_RAFT_VOTER = 81
    UPDATE_RAFT_VOTER = 82
    INITIALIZE_SHARE_GROUP_STATE = 83
    READ_SHARE_GROUP_STATE = 84
    WRITE_SHARE_GROUP_STATE = 85
    DELETE_SHARE_GROUP_STATE = 86
    READ_SHARE_GROUP_STATE_SUMMARY = 87
    STREAMS_GROUP_HEARTBEAT = 88
    STREAMS_GROUP_DESCRIBE = 89
    DESCRIBE_SHARE_GROUP_OFFSETS = 90
    ALTER_SHARE_GROUP_OFFSETS = 91
    DELETE_SHARE_GROUP_OFFSETS = 92


class VersionRange(NamedTuple):
    """The versions of one API, both ends included."""

    min: int
    max: int

    def __contains__(self, version: object) -> bool:
        return isinstance(version, int) and self.min <= version <= self.max


NEVER_FLEXIBLE: Final = 32767
"""First flexible version of the APIs that have none (SaslHandshake, OffsetDelete)."""

# api: (oldest version, newest stable version, first flexible version)
_TABLE: Final[dict[int, tuple[int, int, int]]] = {
    0: (3, 13, 9),
    1: (4, 18, 12),
    2: (1, 11, 6),
    3: (0, 13, 9),
    8: (2, 10, 8),
    9: (1, 10, 6),
    10: (0, 6, 3),
    11: (0, 9, 6),
    12: (0, 4, 4),
    13: (0, 5, 4),
    14: (0, 5, 4),
    15: (0, 6, 5),
    16: (0, 5, 3),
    17: (0, 1, NEVER_FLEXIBLE),
    18: (0, 4, 3),
    19: (2, 7, 5),
    20: (1, 6, 4),
    21: (0, 2, 2),
    22: (0, 5, 2),  # version 6 (two-phase commit, KIP-939) is unstable in 4.3
    23: (2, 4, 4),
    24: (0, 5, 3),
    25: (0, 4, 3),
    26: (0, 5, 3),
    27: (1, 2, 1),
    28: (0, 5, 3),
    29: (1, 3, 2),
    30: (1, 3, 2),
    31: (1, 3, 2),
    32: (1, 4, 4),
    33: (0, 2, 2),
    34: (1, 2, 2),
    35: (1, 5, 2),
    36: (0, 2, 2),
    37: (0, 3, 2),
    38: (1, 3, 2),
    39: (1, 2, 2),
    40: (1, 2, 2),
    41: (1, 3, 2),
    42: (0, 2, 2),
    43: (0, 2, 2),
    44: (0, 1, 1),
    45: (0, 1, 0),
    46: (0, 0, 0),
    47: (0, 0, NEVER_FLEXIBLE),
    48: (0, 1, 1),
    49: (0, 1, 1),
    50: (0, 0, 0),
    51: (0, 0, 0),
    52: (0, 2, 0),
    53: (0, 1, 1),
    54: (0, 1, 1),
    55: (0, 2, 0),
    56: (2, 3, 0),
    57: (0, 2, 0),
    58: (0, 0, 0),
    59: (0, 1, 0),
    60: (0, 2, 0),
    61: (0, 0, 0),
    62: (0, 4, 0),
    63: (0, 2, 0),
    64: (0, 0, 0),
    65: (0, 0, 0),
    66: (0, 2, 0),
    67: (0, 0, 0),
    68: (0, 1, 0),
    69: (0, 1, 0),
    70: (0, 0, 0),
    71: (0, 0, 0),
    72: (0, 0, 0),
    73: (0, 0, 0),
    74: (0, 1, 0),
    75: (0, 0, 0),
    76: (1, 1, 0),
    77: (1, 1, 0),
    78: (1, 2, 0),
    79: (1, 2, 0),
    80: (0, 1, 0),
    81: (0, 0, 0),
    82: (0, 0, 0),
    83: (0, 0, 0),
    84: (0, 0, 0),
    85: (0, 1, 0),
    86: (0, 0, 0),
    87: (0, 1, 0),
    88: (0, 0, 0),
    89: (0, 0, 0),
    90: (0, 1, 0),
    91: (0, 0, 0),
    92: (0, 0, 0),
}

VERSIONS: Final[dict[ApiKey, VersionRange]] = {
    ApiKey(key): VersionRange(row[0], row[1]) for key, row in _TABLE.items()
}
"""The stable versions of Kafka 4.3: what our client speaks and the broker can serve."""

_FIRST_FLEXIBLE: Final[dict[int, int]] = {key: row[2] for key, row in _TABLE.items()}


def is_flexible(api: int, version: int) -> bool:
    """Whether this version has compact lengths and tagged fields (KIP-482)."""
    return version >= _FIRST_FLEXIBLE[api]


def newest_version(api: int) -> int:
    """The newest stable version: the canonical one (see `versions`)."""
    return _TABLE[api][1]
