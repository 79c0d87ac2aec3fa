"""Requests of members of one group as text, with their answers below them, against any broker.

A script is a text file: at the margin a command, indented what it gave. `python -m
tests.group_script BOOTSTRAP FILE...` writes the answers of a running broker into the files.

    topic text 3                       make a topic; `grow text 4` adds partitions, `drop text`
    hb a 0 names=text                  ConsumerGroupHeartbeat of a at epoch 0
    join c topics=text owned=text:0    JoinGroup of a classic member
    sync c 5 give=c=text:0             SyncGroup of generation 5, the leader's with assignments
    answered c                         what came of a join or sync that waits
    chb c 5, leave c, members          Heartbeat, LeaveGroup and DescribeGroups
    commit a 5 text:0=77 v9            OffsetCommit; `fetch a 5 text:0`
    describe, loads, list, delete      of the group; loads are the sizes of the targets
    config consumer.session.timeout.ms=3000
    wait 300                           milliseconds
"""

from __future__ import annotations

import asyncio
import struct
import sys
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from uuid import UUID

from streamkit.broker.coordinators.group.classic.subscription import (
    read_assignment,
    write_assignment,
)
from streamkit.protocol.apis import ApiKey, newest_version
from streamkit.protocol.errors import ErrorCode
from streamkit.protocol.messages import decode_response, encode_request, request_type
from streamkit.protocol.versions import fill

Ask = Callable[..., Awaitable[Any]]
"""(who, api, version, **fields) to the answer."""

WAITS_MS = 600
ANSWER_MS = 20_000
SETTLED_S = 0.7
"""How long until a coordinator knows of topics that changed."""
AGAIN_S = 0.1
READS = {"describe", "list", "members", "loads", "chb"}
PARKED_MS = 300_000


class GroupScript:
    """Runs the commands of one script."""

    def __init__(self, ask: Ask, group_id: str, *, is_live: bool = False) -> None:
        self._ask = ask
        self._group_id = group_id
        self._is_live = is_live
        self._ids: dict[str, str] = {}
        self._topics: dict[str, UUID] = {}
        self._parked: dict[str, asyncio.Future[str]] = {}
        self._patience_ms = WAITS_MS

    async def run(self, script: str) -> str:
        text = ""
        for line, recorded in _commands(script):
            # On a busy machine an answer may be late: only what is known to wait is not waited for.
            self._patience_ms = WAITS_MS if recorded in ([], ["waits"]) else ANSWER_MS
            told = [] if line.startswith("#") else await self._answer(line, recorded)
            text += f"{line}\n" + "".join(f"    {each}\n" for each in told)
        for request in self._parked.values():
            request.cancel()
        return text

    async def _answer(self, line: str, recorded: list[str]) -> list[str]:
        """A running broker is asked again while its answer may be late."""
        clock = asyncio.get_running_loop().time
        deadline = clock() + ANSWER_MS / 1000
        while True:
            is_last = not self._is_live or not recorded or clock() > deadline
            told = await self._step(line)
            if is_last or told == recorded or not _may_be_late(line, told):
                return told
            await asyncio.sleep(AGAIN_S)

    async def _step(self, line: str) -> list[str]:
        verb, *words = line.split()
        options = {word.partition("=")[0]: word.partition("=")[2] for word in words if "=" in word}
        plain = [word for word in words if "=" not in word or ":" in word.partition("=")[0]]
        found: list[str] = await getattr(self, f"_{verb}")(plain, options)
        return found

    async def _wait(self, words: list[str], _: dict[str, str]) -> list[str]:
        await asyncio.sleep(int(words[0]) / 1000)
        return []

    def _name(self, topic: str) -> str:
        return f"{self._group_id}-{topic}"

    async def _topic(self, words: list[str], _: dict[str, str]) -> list[str]:
        wanted = {
            "name": self._name(words[0]), "num_partitions": int(words[1]), "replication_factor": 1
        }  # fmt: skip
        answer = await self._ask("", ApiKey.CREATE_TOPICS, None, topics=[wanted])
        assert answer.topics[0].error_code == ErrorCode.none, answer
        self._topics[words[0]] = UUID(str(answer.topics[0].topic_id))
        for _ in range(200):
            if await self._is_known(words[0]):
                return []
            await asyncio.sleep(0.05)
        raise TimeoutError(f"{words[0]} is not known to the coordinator")

    async def _is_known(self, topic: str) -> bool:
        """Whether the coordinator assigns the topic, tried out by a group of its own."""
        beat = {
            "group_id": f"{self._name(topic)}-probe",
            "member_id": "probe",
            "member_epoch": 0,
            "rebalance_timeout": 1000,
            "subscribed_topic_names": [self._name(topic)],
            "topic_partitions": (),
        }
        answer = await self._ask("", ApiKey.CONSUMER_GROUP_HEARTBEAT, None, **beat)
        assert answer.error_code == ErrorCode.none, answer
        left = {**beat, "member_epoch": -1}
        await self._ask("", ApiKey.CONSUMER_GROUP_HEARTBEAT, None, **left)
        return bool(answer.assignment.topic_partitions)

    async def _grow(self, words: list[str], _: dict[str, str]) -> list[str]:
        wanted = {"name": self._name(words[0]), "count": int(words[1])}
        await self._ask("", ApiKey.CREATE_PARTITIONS, None, topics=[wanted], timeout=9000)
        await asyncio.sleep(SETTLED_S)
        return []

    async def _drop(self, words: list[str], _: dict[str, str]) -> list[str]:
        wanted = {"name": self._name(words[0])}
        await self._ask("", ApiKey.DELETE_TOPICS, None, topics=[wanted], timeout=9000)
        await asyncio.sleep(SETTLED_S)
        return []

    async def _config(self, _: list[str], options: dict[str, str]) -> list[str]:
        changes = [
            {"name": name, "config_operation": 0, "value": value} for name, value in options.items()
        ]
        wanted = {"resource_type": 32, "resource_name": self._group_id, "configs": changes}
        answer = await self._ask("", ApiKey.INCREMENTAL_ALTER_CONFIGS, None, resources=[wanted])
        await asyncio.sleep(0.2)
        return [answer.responses[0].error_code.name]

    def _id(self, who: str) -> str:
        return self._ids.setdefault(who, f"{who}-{self._group_id}")

    def _who(self, member_id: str) -> str:
        return next((who for who, known in self._ids.items() if known == member_id), "?")

    async def _hb(self, words: list[str], options: dict[str, str]) -> list[str]:
        who, epoch = words[0], int(words[1])
        joins = epoch == 0
        fields: dict[str, Any] = {
            "group_id": self._group_id,
            "member_id": self._id(who),
            "member_epoch": epoch,
            "rebalance_timeout": int(options.get("rt", "300000" if joins else "-1")),
            "topic_partitions": () if joins else None,
        }
        if "owned" in options:
            fields["topic_partitions"] = [
                {"topic_id": self._topics[topic], "partitions": indexes}
                for topic, indexes in _parsed(options["owned"]).items()
            ]
        if "names" in options:
            names = [self._name(each) for each in options["names"].split(",") if each]
            fields["subscribed_topic_names"] = names
        if "regex" in options:
            fields["subscribed_topic_regex"] = options["regex"].replace("@", self._group_id)
        for name, field in (
            ("instance", "instance_id"),
            ("assignor", "server_assignor"),
            ("rack", "rack_id"),
        ):
            if name in options:
                fields[field] = options[name]
        answer = await self._ask(who, ApiKey.CONSUMER_GROUP_HEARTBEAT, None, **fields)
        if answer.error_code != ErrorCode.none:
            return [answer.error_code.name]
        text = f"epoch={answer.member_epoch}"
        if answer.assignment is not None:
            text += f" assigned={self._partitions(answer.assignment.topic_partitions)}"
        return [text]

    def _partitions(self, topics: Any) -> str:
        names = {topic_id: name for name, topic_id in self._topics.items()}
        return _text({names[UUID(str(each.topic_id))]: each.partitions for each in topics})

    async def _join(self, words: list[str], options: dict[str, str]) -> list[str]:
        self._parked[words[0]] = asyncio.ensure_future(self._joining(words[0], options))
        return await self._answered(words, options)

    async def _sync(self, words: list[str], options: dict[str, str]) -> list[str]:
        syncing = self._syncing(words[0], int(words[1]), options)
        self._parked[words[0]] = asyncio.ensure_future(syncing)
        return await self._answered(words, options)

    async def _answered(self, words: list[str], _: dict[str, str]) -> list[str]:
        patience_s = self._patience_ms / 1000
        done, _pending = await asyncio.wait([self._parked[words[0]]], timeout=patience_s)
        if not done:
            return ["waits"]
        return [self._parked.pop(words[0]).result()]

    async def _joining(self, who: str, options: dict[str, str]) -> str:
        known = options.get("id", self._ids.get(who, ""))
        version = int(options.get("v", newest_version(ApiKey.JOIN_GROUP)))
        subscription = self._subscription(options)
        while True:
            answer = await self._ask(
                who,
                ApiKey.JOIN_GROUP,
                version,
                group_id=self._group_id,
                member_id=known,
                group_instance_id=options.get("instance"),
                session_timeout=int(options.get("st", 45_000)),
                rebalance_timeout=int(options.get("rt", PARKED_MS)),
                protocol_type=options.get("type", "consumer"),
                protocols=[
                    {"name": each, "metadata": subscription}
                    for each in options.get("protocols", "range").split(",")
                ],
            )
            if answer.error_code != ErrorCode.member_id_required:
                break
            known = self._ids[who] = answer.member_id
        if answer.error_code != ErrorCode.none:
            return str(answer.error_code.name)
        self._ids[who] = answer.member_id
        text = f"generation={answer.generation_id} protocol={answer.protocol_name}"
        if getattr(answer, "skip_assignment", False):
            text += " skip"
        return f"{text} members={len(answer.members)}" if answer.members else text

    def _subscription(self, options: dict[str, str]) -> bytes:
        topics = [self._name(each) for each in options.get("topics", "").split(",") if each]
        parts = [struct.pack(">hi", 3, len(topics))]
        parts += [struct.pack(">h", len(each)) + each.encode() for each in topics]
        owned = {
            self._name(topic): indexes
            for topic, indexes in _parsed(options.get("owned", "")).items()
        }
        # No user data; owned partitions are written as in an assignment; generation, rack.
        return b"".join([*parts, struct.pack(">i", -1), write_assignment(3, owned)[2:-4],
                         struct.pack(">ih", -1, -1)])  # fmt: skip

    async def _syncing(self, who: str, generation: int, options: dict[str, str]) -> str:
        given = []
        for each in filter(None, options.get("give", "").split("+")):
            member, _, parts = each.partition("=")
            named = {self._name(topic): found for topic, found in _parsed(parts).items()}
            given.append({"member_id": self._ids[member], "assignment": write_assignment(3, named)})
        answer = await self._ask(
            who,
            ApiKey.SYNC_GROUP,
            None,
            group_id=self._group_id,
            generation_id=generation,
            member_id=self._ids.get(who, who),
            group_instance_id=options.get("instance"),
            protocol_type=options.get("type", "consumer"),
            protocol_name=options.get("protocol", "range"),
            assignments=given,
        )
        if answer.error_code != ErrorCode.none:
            return str(answer.error_code.name)
        found, _ = read_assignment(answer.assignment) if answer.assignment else ({}, b"")
        return f"assigned={_text({self._short(name): each for name, each in found.items()})}"

    def _short(self, topic: str) -> str:
        return topic.removeprefix(f"{self._group_id}-")

    async def _chb(self, words: list[str], options: dict[str, str]) -> list[str]:
        answer = await self._ask(
            words[0],
            ApiKey.HEARTBEAT,
            None,
            group_id=self._group_id,
            generation_id=int(words[1]),
            member_id=self._ids.get(words[0], words[0]),
            group_instance_id=options.get("instance"),
        )
        return [answer.error_code.name]

    async def _leave(self, words: list[str], options: dict[str, str]) -> list[str]:
        leaver = {
            "member_id": "" if "admin" in words else self._ids.get(words[0], words[0]),
            "group_instance_id": options.get("instance"),
        }
        answer = await self._ask(
            words[0], ApiKey.LEAVE_GROUP, None, group_id=self._group_id, members=[leaver]
        )
        codes = [answer.error_code, *(each.error_code for each in answer.members)]
        return [" ".join(code.name for code in codes)]

    async def _commit(self, words: list[str], options: dict[str, str]) -> list[str]:
        who, epoch, *_ = words
        version = 9 if "v9" in words else 8 if "v8" in words else 10
        topics = []
        for name, offset in options.items():
            topic, _, index = name.partition(":")
            if not index:
                continue
            named = (
                {"topic_id": self._topics[topic]} if version > 9 else {"name": self._name(topic)}
            )
            partition = {"partition_index": int(index), "committed_offset": int(offset)}
            topics.append({**named, "partitions": [partition]})
        member_id = "" if who == "-" else self._ids.get(who, who)
        answer = await self._ask(
            who,
            ApiKey.OFFSET_COMMIT,
            version,
            group_id=self._group_id,
            generation_id_or_member_epoch=int(epoch),
            member_id=member_id,
            group_instance_id=options.get("instance"),
            topics=topics,
        )
        return [" ".join(p.error_code.name for t in answer.topics for p in t.partitions)]

    async def _fetch(self, words: list[str], _: dict[str, str]) -> list[str]:
        who, epoch, *parts = words
        wanted = [
            {"topic_id": self._topics[topic], "partition_indexes": indexes}
            for topic, indexes in _parsed("+".join(parts)).items()
        ]
        group = {
            "group_id": self._group_id,
            "member_id": None if who == "-" else self._ids.get(who, who),
            "member_epoch": int(epoch),
            "topics": wanted,
        }
        answer = await self._ask(who, ApiKey.OFFSET_FETCH, 10, groups=[group])
        (found,) = answer.groups
        if found.error_code != ErrorCode.none:
            return [found.error_code.name]
        return [" ".join(str(p.committed_offset) for t in found.topics for p in t.partitions)]

    async def _describe(self, _: list[str], __: dict[str, str]) -> list[str]:
        answer = await self._ask(
            "", ApiKey.CONSUMER_GROUP_DESCRIBE, None, group_ids=[self._group_id]
        )
        (group,) = answer.groups
        if group.error_code != ErrorCode.none:
            return [group.error_code.name]
        lines = [
            f"{group.group_state} epoch={group.group_epoch} assignment={group.assignment_epoch} "
            f"{group.assignor_name}"
        ]
        for member in sorted(group.members, key=lambda each: self._who(each.member_id)):
            kind = "consumer" if member.member_type == 1 else "classic"
            lines.append(
                f"{self._who(member.member_id)} {kind} epoch={member.member_epoch} "
                f"assigned={self._partitions(member.assignment.topic_partitions)} "
                f"target={self._partitions(member.target_assignment.topic_partitions)}"
            )
        return lines

    async def _members(self, _: list[str], __: dict[str, str]) -> list[str]:
        answer = await self._ask("", ApiKey.DESCRIBE_GROUPS, None, groups=[self._group_id])
        (group,) = answer.groups
        if group.error_code != ErrorCode.none:
            return [group.error_code.name]
        lines = [f"{group.group_state} {group.protocol_type} {group.protocol_data}".rstrip()]
        for member in sorted(group.members, key=lambda each: self._who(each.member_id)):
            given, _user = (
                read_assignment(member.member_assignment) if member.member_assignment else ({}, b"")
            )
            named = {self._short(name): each for name, each in given.items()}
            lines.append(
                f"{self._who(member.member_id)} {member.group_instance_id or ''} "
                f"assigned={_text(named)}"
            )
        return lines

    async def _loads(self, _: list[str], __: dict[str, str]) -> list[str]:
        answer = await self._ask(
            "", ApiKey.CONSUMER_GROUP_DESCRIBE, None, group_ids=[self._group_id]
        )
        # Who of several has one more depends on the ids of topics.
        loads = sorted(
            sum(len(each.partitions) for each in member.target_assignment.topic_partitions)
            for member in answer.groups[0].members
        )
        return [" ".join(map(str, loads))]

    async def _list(self, _: list[str], __: dict[str, str]) -> list[str]:
        answer = await self._ask("", ApiKey.LIST_GROUPS, None)
        return [
            f"{each.group_type} {each.group_state} {each.protocol_type}".rstrip()
            for each in answer.groups
            if each.group_id == self._group_id
        ]

    async def _delete(self, _: list[str], __: dict[str, str]) -> list[str]:
        answer = await self._ask("", ApiKey.DELETE_GROUPS, None, groups_names=[self._group_id])
        return [answer.results[0].error_code.name]

    async def _forget(self, words: list[str], _: dict[str, str]) -> list[str]:
        wanted = {"name": self._name(words[0]), "partitions": [{"partition_index": 0}]}
        answer = await self._ask(
            "", ApiKey.OFFSET_DELETE, None, group_id=self._group_id, topics=[wanted]
        )
        if answer.error_code != ErrorCode.none:
            return [answer.error_code.name]
        return [answer.topics[0].partitions[0].error_code.name]


def _commands(script: str) -> list[tuple[str, list[str]]]:
    """The commands with what was recorded below each."""
    found: list[tuple[str, list[str]]] = []
    for line in filter(None, script.splitlines()):
        if line.startswith(" "):
            found[-1][1].append(line.strip())
        else:
            found.append((line, []))
    return found


def _may_be_late(line: str, told: list[str]) -> bool:
    """Whether the command changed nothing, and a heartbeat learned nothing."""
    verb, *words = line.split()
    return verb in READS or (verb == "hb" and len(words) == 2 and told == [f"epoch={words[1]}"])


def _parsed(text: str) -> dict[str, list[int]]:
    """`text:0,1+more:2` as partitions by topic."""
    found = {}
    for each in filter(None, text.split("+")):
        topic, _, indexes = each.partition(":")
        found[topic] = [int(index) for index in indexes.split(",")]
    return found


def _text(partitions: Any) -> str:
    return (
        "+".join(
            f"{topic}:{','.join(map(str, sorted(partitions[topic])))}"
            for topic in sorted(partitions)
            if partitions[topic]
        )
        or "-"
    )


class Wire:
    """One connection for each who asks."""

    def __init__(self, bootstrap: str) -> None:
        self._host, _, port = bootstrap.rpartition(":")
        self._port = int(port)
        self._streams: dict[str, tuple[asyncio.StreamReader, asyncio.StreamWriter]] = {}

    async def ask(self, who: str, api: ApiKey, version: int | None = None, **fields: Any) -> Any:
        if who not in self._streams:
            self._streams[who] = await asyncio.open_connection(self._host, self._port)
        reader, writer = self._streams[who]
        chosen = newest_version(api) if version is None else version
        message = fill(request_type(api, chosen), fields)
        frame = encode_request(77, who or "script", message)
        writer.write(len(frame).to_bytes(4, "big") + frame)
        size = int.from_bytes(await reader.readexactly(4), "big")
        _, answer = decode_response(api, chosen, await reader.readexactly(size))
        return answer

    async def ready(self, group_id: str) -> None:
        """Wait until the group's coordinator is there."""
        for _ in range(100):
            answer = await self.ask(
                "", ApiKey.FIND_COORDINATOR, key_type=0, coordinator_keys=[group_id]
            )
            if answer.coordinators[0].error_code == ErrorCode.none:
                probe = await self.ask("", ApiKey.DELETE_GROUPS, groups_names=[group_id])
                if probe.results[0].error_code == ErrorCode.group_id_not_found:
                    return
            await asyncio.sleep(0.1)
        raise TimeoutError(f"no coordinator for {group_id}")

    def close(self) -> None:
        for _, writer in self._streams.values():
            writer.close()


async def run_on(bootstrap: str, script: str, group_id: str) -> str:
    """The script with the answers of a running broker."""
    wire = Wire(bootstrap)
    try:
        await wire.ready(group_id)
        return await GroupScript(wire.ask, group_id, is_live=True).run(script)
    finally:
        wire.close()


def main() -> None:
    bootstrap, *paths = sys.argv[1:]
    for path in map(Path, paths):
        answered = asyncio.run(run_on(bootstrap, path.read_text(), path.stem))
        path.write_text(answered)
        sys.stdout.write(f"== {path.name}\n{answered}")


if __name__ == "__main__":
    main()
