"""The table of `docs/apis.md`: each API key, what is served here, and what is left out and why.

`python -m tests.apis_table` writes the file anew; a test compares it with the code.
"""

from __future__ import annotations

from pathlib import Path

from streamkit.broker.handlers import SERVED
from streamkit.protocol.apis import VERSIONS, ApiKey, VersionRange

PATH = Path(__file__).parent.parent / "docs" / "apis.md"

LATER_BROKERS = "several brokers come later"
LATER_SECURITY = "security and quotas come later"
LATER_SHARE = "share groups come later"
LATER_GROUPS = "groups are being built"
BETWEEN_BROKERS = "asked only between brokers and controllers, and there is one node"
TELEMETRY = "only served where a metrics plug-in is configured, and there is none"

REASONS = {
    ApiKey.JOIN_GROUP: LATER_GROUPS,
    ApiKey.HEARTBEAT: LATER_GROUPS,
    ApiKey.LEAVE_GROUP: LATER_GROUPS,
    ApiKey.SYNC_GROUP: LATER_GROUPS,
    ApiKey.DESCRIBE_GROUPS: LATER_GROUPS,
    ApiKey.LIST_GROUPS: LATER_GROUPS,
    ApiKey.DELETE_GROUPS: LATER_GROUPS,
    ApiKey.OFFSET_DELETE: LATER_GROUPS,
    ApiKey.CONSUMER_GROUP_HEARTBEAT: LATER_GROUPS,
    ApiKey.CONSUMER_GROUP_DESCRIBE: LATER_GROUPS,
    ApiKey.SASL_HANDSHAKE: LATER_SECURITY,
    ApiKey.SASL_AUTHENTICATE: LATER_SECURITY,
    ApiKey.DESCRIBE_ACLS: LATER_SECURITY,
    ApiKey.CREATE_ACLS: LATER_SECURITY,
    ApiKey.DELETE_ACLS: LATER_SECURITY,
    ApiKey.CREATE_DELEGATION_TOKEN: LATER_SECURITY,
    ApiKey.RENEW_DELEGATION_TOKEN: LATER_SECURITY,
    ApiKey.EXPIRE_DELEGATION_TOKEN: LATER_SECURITY,
    ApiKey.DESCRIBE_DELEGATION_TOKEN: LATER_SECURITY,
    ApiKey.DESCRIBE_CLIENT_QUOTAS: LATER_SECURITY,
    ApiKey.ALTER_CLIENT_QUOTAS: LATER_SECURITY,
    ApiKey.DESCRIBE_USER_SCRAM_CREDENTIALS: LATER_SECURITY,
    ApiKey.ALTER_USER_SCRAM_CREDENTIALS: LATER_SECURITY,
    ApiKey.UNREGISTER_BROKER: LATER_BROKERS,
    ApiKey.ADD_RAFT_VOTER: LATER_BROKERS,
    ApiKey.REMOVE_RAFT_VOTER: LATER_BROKERS,
    ApiKey.UPDATE_RAFT_VOTER: BETWEEN_BROKERS,
    ApiKey.VOTE: BETWEEN_BROKERS,
    ApiKey.BEGIN_QUORUM_EPOCH: BETWEEN_BROKERS,
    ApiKey.END_QUORUM_EPOCH: BETWEEN_BROKERS,
    ApiKey.ALTER_PARTITION: BETWEEN_BROKERS,
    ApiKey.ENVELOPE: BETWEEN_BROKERS,
    ApiKey.FETCH_SNAPSHOT: BETWEEN_BROKERS,
    ApiKey.BROKER_REGISTRATION: BETWEEN_BROKERS,
    ApiKey.BROKER_HEARTBEAT: BETWEEN_BROKERS,
    ApiKey.ALLOCATE_PRODUCER_IDS: BETWEEN_BROKERS,
    ApiKey.CONTROLLER_REGISTRATION: BETWEEN_BROKERS,
    ApiKey.ASSIGN_REPLICAS_TO_DIRS: BETWEEN_BROKERS,
    ApiKey.GET_TELEMETRY_SUBSCRIPTIONS: TELEMETRY,
    ApiKey.PUSH_TELEMETRY: TELEMETRY,
    ApiKey.SHARE_GROUP_HEARTBEAT: LATER_SHARE,
    ApiKey.SHARE_GROUP_DESCRIBE: LATER_SHARE,
    ApiKey.SHARE_FETCH: LATER_SHARE,
    ApiKey.SHARE_ACKNOWLEDGE: LATER_SHARE,
    ApiKey.INITIALIZE_SHARE_GROUP_STATE: LATER_SHARE,
    ApiKey.READ_SHARE_GROUP_STATE: LATER_SHARE,
    ApiKey.WRITE_SHARE_GROUP_STATE: LATER_SHARE,
    ApiKey.DELETE_SHARE_GROUP_STATE: LATER_SHARE,
    ApiKey.READ_SHARE_GROUP_STATE_SUMMARY: LATER_SHARE,
    ApiKey.DESCRIBE_SHARE_GROUP_OFFSETS: LATER_SHARE,
    ApiKey.ALTER_SHARE_GROUP_OFFSETS: LATER_SHARE,
    ApiKey.DELETE_SHARE_GROUP_OFFSETS: LATER_SHARE,
}
"""Why an API is not served."""

NOTES = {
    ApiKey.PRODUCE: "listed from 0, as Kafka does: librdkafka 2.x tells LZ4 support by it",
    ApiKey.DESCRIBE_CONFIGS: "topics, brokers and groups; log levels and client metrics are not",
    ApiKey.INCREMENTAL_ALTER_CONFIGS: "topics, brokers and groups",
    ApiKey.ALTER_CONFIGS: "topics, brokers and groups",
    ApiKey.DESCRIBE_LOG_DIRS: "one directory; none is cordoned",
    ApiKey.LIST_OFFSETS: "tiered storage has no offsets",
    ApiKey.DESCRIBE_QUORUM: "one voter",
    ApiKey.ELECT_LEADERS: "one node: a partition has its leader, or none could be elected",
    ApiKey.ALTER_PARTITION_REASSIGNMENTS: "one node: only the assignment that is there is valid",
    ApiKey.LIST_PARTITION_REASSIGNMENTS: "one node: there never is one",
    ApiKey.ALTER_REPLICA_LOG_DIRS: "one directory: each replica already is there",
}
"""What is left out of an API that is served."""

HEAD = """# APIs

Which requests of Apache Kafka 4.3 the broker answers, and in which versions. Made from the code by
`python -m tests.apis_table`; a test keeps it current. What is not served is not listed in
ApiVersions, and a request for it closes the connection, as it does at a Kafka broker.

| key | API | here | Kafka 4.3 | notes |
| --- | --- | --- | --- | --- |
"""


def table() -> str:
    """The text of the file."""
    return HEAD + "".join(f"{_row(api)}\n" for api in sorted(VERSIONS))


def _row(api: ApiKey) -> str:
    served = SERVED.get(api)
    here = "-" if served is None else _range(served.versions)
    note = NOTES.get(api, "") if served is not None else f"not served: {REASONS[api]}"
    return f"| {int(api)} | {_name(api)} | {here} | {_range(VERSIONS[api])} | {note} |"


def _name(api: ApiKey) -> str:
    return "".join(part.capitalize() for part in api.name.split("_"))


def _range(versions: VersionRange) -> str:
    low, high = versions
    return str(low) if low == high else f"{low}-{high}"


if __name__ == "__main__":
    PATH.write_text(table())
