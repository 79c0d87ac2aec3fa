"""One StreamsGroupHeartbeat: what it writes, what it answers (GroupMetadataManager).

Steps, in Kafka's order: check the request, the group, the member and its epoch; take over what
the member says of itself; store or compare the topology; count partitions and find missing
topics; bump the group epoch, once, for all that changed; compute the target when it is due;
move this member one step towards it; answer.
"""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any

from streamkit.protocol import kio_import as _kio_import  # noqa: F401  # before any of kio

# isort: split
from kio.schema.streams_group_heartbeat.v0 import response as rs
from kio.static.primitive import i8, i32

from streamkit.broker.coordinators.group import records as rec
from streamkit.broker.coordinators.group.streams import endpoints, translate
from streamkit.broker.coordinators.group.streams.config import StreamsConfig
from streamkit.broker.coordinators.group.streams.fencing import (
    rebalance_key,
    rebalance_timer,
    removal_effects,
    removal_records,
    session_timer,
)
from streamkit.broker.coordinators.group.streams.messages import (
    HeartbeatRequest,
    HeartbeatResponse,
    duration,
    owned_tasks,
    reported,
    response,
    response_tasks,
)
from streamkit.broker.coordinators.group.streams.model import (
    Member,
    MemberState,
    StreamsGroup,
)
from streamkit.broker.coordinators.group.streams.reconcile import reconcile
from streamkit.broker.coordinators.group.streams.target import (
    compute_target,
    idle_parts,
    metadata_hash,
    target_records,
    uneven,
)
from streamkit.broker.coordinators.group.streams.topologies import Choice, choose
from streamkit.broker.coordinators.group.streams.validate import (
    JOIN_EPOCH,
    LEAVE_EPOCH,
    check_shape,
)
from streamkit.broker.coordinators.runtime import CancelTimer, Result, StartTimer
from streamkit.broker.coordinators.seams import TopicsView
from streamkit.protocol.errors import ApiError, ErrorCode
from streamkit.protocol.units import to_ms
from streamkit.rebalance.assignor import EMPTY_TASKS, Tasks
from streamkit.rebalance.rules import (
    ConfiguredTopology,
    GroupTopology,
    InternalTopic,
    InvalidTopologyError,
    StatusCode,
    configure,
)

if TYPE_CHECKING:
    from streamkit.broker.coordinators.group.state import GroupShard

NOT_VALIDATED = -1
_PASSING = (StatusCode.MISSING_INTERNAL_TOPICS, StatusCode.ASSIGNMENT_DELAYED)


@dataclass(frozen=True, slots=True)
class HeartbeatContext:
    """Who asks, when, and what the node knows."""

    client_id: str
    client_host: str
    now_ms: int
    config: StreamsConfig
    topics: TopicsView


@dataclass(frozen=True, slots=True)
class CreateTopics:
    """Internal topics that a group waits for; an effect for the coordinator."""

    group_id: str
    topics: tuple[InternalTopic, ...]
    retry_ms: int
    """How long a failure is told to the members."""


def heartbeat(
    state: GroupShard, request: HeartbeatRequest, context: HeartbeatContext
) -> Result[GroupShard, HeartbeatResponse]:
    """Raises ApiError when the request is refused."""
    check_shape(request, takes_task_offsets=context.config.takes_task_offsets)
    if request.member_epoch == LEAVE_EPOCH:
        return _leave(state, request)
    return _Round(state, request, context).run()


def _leave(state: GroupShard, request: HeartbeatRequest) -> Result[GroupShard, HeartbeatResponse]:
    group = state.streams.get(request.group_id)
    if group is None:
        raise ApiError(ErrorCode.group_id_not_found, f"Group {request.group_id} not found.")
    if request.member_id not in group.members:
        raise _unknown_member(group, request.member_id)
    if request.shutdown_application:
        group.soft.shutdown_member_id = request.member_id
    return Result(
        response(member_id=request.member_id, member_epoch=i32(LEAVE_EPOCH)),
        removal_records(group, request.member_id, "left"),
        removal_effects(request.group_id, request.member_id),
    )


class _Round:
    """One heartbeat on its way; the group changes only when the records are replayed."""

    def __init__(
        self, state: GroupShard, request: HeartbeatRequest, context: HeartbeatContext
    ) -> None:
        self.state = state
        self.request = request
        self.context = context
        self.is_joining = request.member_epoch == JOIN_EPOCH
        self.records: list[rec.Record] = []
        self.effects: list[Any] = []
        self.statuses: list[tuple[StatusCode, str]] = []
        self.causes: list[str] = []
        """Why the group's epoch has to move on; empty: it stays."""
        self.owned = owned_tasks(request)
        self.group = self._enter_group()
        self.soft = self.group.soft
        self.soft.history.is_told = context.config.tells_reasons
        self.before = self._enter_member()
        self._note_report()

    def run(self) -> Result[GroupShard, HeartbeatResponse]:
        group_id, member_id = self.group.group_id, self.before.member_id
        choice = choose(
            self.group,
            member_id,
            self.request.topology,
            self.context.topics.partition_count,
            takes_updates=self.context.config.takes_topology_updates,
        )
        member = self._update_member(choice)
        topology = self._update_topology(choice, member)
        configured, topics_hash = self._configure(topology)
        epoch = self._bump_epoch(topology, configured, topics_hash)
        self._maybe_start_delay()
        assignment_epoch, target = self._target(member, configured, epoch)
        member = self._reconcile(member, assignment_epoch, target)
        session_ms = self.context.config.session_timeout_ms
        self.effects.append(session_timer(group_id, member_id, session_ms))
        if self.request.shutdown_application:
            self.soft.shutdown_member_id = member_id
        self._tell_problems(configured)
        return Result(self._answer(member, configured), self.records, self.effects)

    def _enter_group(self) -> StreamsGroup:
        group_id = self.request.group_id
        group = self.state.streams.get(group_id)
        if not self.is_joining:
            if group is None:
                raise _not_found(f"Streams group {group_id} not found.")
            return group
        if group is None:
            if self.state.has_members(group_id) or group_id in self.state.consumer:
                raise _not_found(f"Group {group_id} is not a streams group.")
            self.records += self.state.empty_tombstones(group_id)
            return StreamsGroup(group_id, self.state.soft_of(group_id))
        size_max = self.context.config.size_max
        if len(group.members) >= size_max:
            raise ApiError(
                ErrorCode.group_max_size_reached,
                f"The streams group has reached its maximum capacity of {size_max} members.",
            )
        return group

    def _enter_member(self) -> Member:
        member_id, epoch = self.request.member_id, self.request.member_epoch
        member = self.group.members.get(member_id)
        if member is None:
            if not self.is_joining:
                raise _unknown_member(self.group, member_id)
            return Member(member_id)
        if self.is_joining or epoch == member.epoch:
            return member
        if epoch > member.epoch:
            raise _fenced("greater", epoch, member)
        is_known = self.owned is not None and member.assigned.contains_all(self.owned)
        if epoch != member.previous_epoch or not is_known:
            raise _fenced("smaller", epoch, member)
        return member

    def _note_report(self) -> None:
        self.soft.heard_ms[self.before.member_id] = self.context.now_ms
        report = reported(self.request)
        if report is not None:
            self.soft.progress.note(self.before.member_id, report)
        elif self.is_joining:
            self.soft.progress.forget(self.before.member_id)

    def _update_member(self, choice: Choice) -> Member:
        parts = choice.parts if self.context.config.takes_topology_updates else None
        metadata = _updated_metadata(self.before.metadata, self.request, self.context, parts)
        if metadata == self.before.metadata:
            return self.before
        group_id, member_id = self.group.group_id, self.before.member_id
        self.causes.append(f"member {member_id} {_news_of(self.before.metadata, metadata)}")
        self.records.append(translate.member_record(group_id, member_id, metadata))
        return replace(self.before, metadata=metadata)

    def _update_topology(self, choice: Choice, member: Member) -> GroupTopology:
        topology = choice.topology
        if choice.value is not None:
            self.records.append(translate.topology_record(self.group.group_id, choice.value))
        if choice.cause:
            self.causes.append(choice.cause)
        if member.metadata is not None and member.topology_epoch < topology.epoch:
            members = {**self.group.members, member.member_id: member}
            stale = (
                f"The member's topology epoch {member.topology_epoch} is behind the group's "
                f"topology epoch {topology.epoch}."
            )
            self._tell(
                StatusCode.STALE_TOPOLOGY,
                " ".join(filter(None, (stale, idle_parts(self.group, members.values(), topology)))),
            )
        return topology

    def _configure(self, topology: GroupTopology) -> tuple[ConfiguredTopology, int]:
        """The topology with counts, computed again when its topics may have changed."""
        soft, group = self.soft, self.group
        known = soft.configured
        if known is not None and known.epoch != topology.epoch:
            known = None
        if known is not None and group.topology is not None and not soft.is_metadata_stale:
            return self._checked(known), group.metadata_hash
        topics = self.context.topics
        topics_hash = metadata_hash(topology, topics)
        if topics_hash != group.metadata_hash:
            self.causes.append("topics were made, or their partitions or racks changed")
        if known is None or topics_hash != group.metadata_hash:
            try:
                known = configure(topology, topics.partition_count)
            except InvalidTopologyError as error:
                raise ApiError(ErrorCode.streams_invalid_topology, str(error)) from error
        configured = self._checked(known)
        soft.configured = configured
        soft.is_metadata_stale = False
        return configured, topics_hash

    def _checked(self, configured: ConfiguredTopology) -> ConfiguredTopology:
        """Refuse owned tasks that the topology does not have."""
        if self.owned is None or not configured.is_ready:
            return configured
        for subtopology_id, partition in sorted(self.owned.active | self.owned.standby):
            tasks = configured.tasks_of(subtopology_id)
            if tasks is None:
                raise ApiError(
                    ErrorCode.invalid_request,
                    f"Subtopology {subtopology_id} does not exist in the topology.",
                )
            if not 0 <= partition < tasks:
                raise ApiError(
                    ErrorCode.invalid_request,
                    f"Task {partition} for subtopology {subtopology_id} is invalid. "
                    f"Number of tasks for this subtopology: {tasks}",
                )
        return configured

    def _bump_epoch(
        self, topology: GroupTopology, configured: ConfiguredTopology, topics_hash: int
    ) -> int:
        group = self.group
        validated = topology.epoch if configured.is_ready else NOT_VALIDATED
        configs = self.context.config.assignment_configs
        if validated != group.validated_topology_epoch:
            is_ready = validated != NOT_VALIDATED
            self.causes.append("the topology is ready" if is_ready else "the topology is not ready")
        if configs != group.assignment_configs:
            listed = ", ".join(f"{key}={value}" for key, value in sorted(configs.items()))
            self.causes.append(f"group configs are {listed} now")
        if configured.is_ready and group.epoch == group.assignment_epoch:
            self.causes += self._causes_of_progress(configured)
        if not self.causes:
            return group.epoch
        epoch = group.epoch + 1
        self.soft.history.note(group.group_id, epoch, self.causes)
        self.records.append(
            translate.group_record(group.group_id, epoch, topics_hash, validated, configs)
        )
        return epoch

    def _causes_of_progress(self, configured: ConfiguredTopology) -> list[str]:
        """Warm-ups that are over; and when measured costs are due for a look, what they say."""
        group, config, now_ms = self.group, self.context.config, self.context.now_ms
        progress = self.soft.progress
        warmups = [
            (task, member_id)
            for member_id, tasks in sorted(group.targets.items())
            for task in sorted(tasks.warmup)
        ]
        causes = progress.look(warmups, config, now_ms)
        since_ms = max(group.assignment_timestamp, progress.looked_ms)
        is_due = config.is_measured and now_ms - since_ms >= config.balance_interval_ms
        if causes or warmups or not is_due:
            return causes
        progress.looked_ms = now_ms
        cause = uneven(group, configured, config)
        return [cause] if cause else []

    def _maybe_start_delay(self) -> None:
        delay_ms = self.context.config.initial_delay_ms
        if self.group.members or delay_ms == 0 or self.soft.is_delayed:
            return
        self.soft.is_delayed = True
        self.effects.append(initial_delay_timer(self.group.group_id, delay_ms, self.context))

    def _target(
        self, member: Member, configured: ConfiguredTopology, epoch: int
    ) -> tuple[int, Tasks]:
        """The assignment epoch and this member's target."""
        group, context = self.group, self.context
        if epoch <= group.assignment_epoch:
            return group.assignment_epoch, group.target_of(member.member_id)
        if self.soft.is_delayed:
            self._tell_delay("initial rebalance delay")
            return group.assignment_epoch, EMPTY_TASKS
        since_ms = context.now_ms - group.assignment_timestamp
        before = group.target_of(member.member_id)
        is_early = since_ms < context.config.assignment_interval_ms
        if group.assignment_timestamp and is_early and member.can_run(before):
            self._tell_delay("assignment interval")
            return group.assignment_epoch, before
        members = {**group.members, member.member_id: member}
        target = compute_target(group, members.values(), configured, context.config)
        self.records += target_records(group, target, epoch, context.now_ms)
        return epoch, target[member.member_id]

    def _reconcile(self, member: Member, assignment_epoch: int, target: Tasks) -> Member:
        group = self.group
        moved = reconcile(
            member,
            self.owned,
            assignment_epoch,
            target,
            group.holders,
            keeps_copies=self._is_reporting and self.context.config.promotes_in_place,
        )
        if moved == member and member.member_id in group.members:
            return member
        self.records.append(translate.current_record(group.group_id, moved))
        if moved.state is MemberState.UNREVOKED_TASKS:
            timeout_ms = moved.rebalance_timeout_ms
            timer = rebalance_timer(group.group_id, moved.member_id, moved.epoch, timeout_ms)
            self.effects.append(timer)
        else:
            self.effects.append(CancelTimer(rebalance_key(group.group_id, moved.member_id)))
        return moved

    def _tell(self, status: StatusCode, detail: str) -> None:
        self.statuses.append((status, detail))

    def _tell_delay(self, what: str) -> None:
        detail = f"Assignment delayed due to the configured {what}."
        self._tell(StatusCode.ASSIGNMENT_DELAYED, detail)

    def _tell_problems(self, configured: ConfiguredTopology) -> None:
        problem = configured.problem
        if problem is not None:
            missing = configured.missing_internal
            detail = problem.detail + self._creation_errors(topic.name for topic in missing)
            self._tell(problem.status, detail)
            if missing:
                retry_ms = 2 * self.context.config.heartbeat_interval_ms
                self.effects.append(CreateTopics(self.group.group_id, missing, retry_ms))
        if self.soft.shutdown_member_id is not None:
            self._tell(
                StatusCode.SHUTDOWN_APPLICATION,
                f"Streams group member {self.soft.shutdown_member_id} encountered a fatal error "
                "and requested a shutdown for the entire application.",
            )

    def _creation_errors(self, names: Any) -> str:
        known = self.soft.creation_errors
        told = [
            f"{name} ({known[name][0]})"
            for name in names
            if name in known and self.context.now_ms < known[name][1]
        ]
        return f"; Creation failed: {', '.join(told)}." if told else ""

    def _answer(self, member: Member, configured: ConfiguredTopology) -> HeartbeatResponse:
        lists: dict[str, Any] = {}
        tasks = member.assigned.tasks
        is_news = self.is_joining or member.assigned != self.before.assigned
        # Apache Kafka 4.3 is silent when an answer that gave tasks was lost and the member, whose
        # epoch is right, says that it owns others: the tasks then run nowhere.
        if is_news or (self.owned is not None and self.owned != tasks):
            lists["active_tasks"] = response_tasks(tasks.active)
            lists["standby_tasks"] = response_tasks(tasks.standby)
            lists["warmup_tasks"] = response_tasks(tasks.warmup)
        is_first = self.is_joining and member.assigned.is_empty
        if is_news and not is_first and member.endpoint is not None:
            self.soft.endpoint_epoch += 1
        if self.soft.endpoint_epoch != self.request.endpoint_information_epoch:
            members = {**self.group.members, member.member_id: member}
            lists["partitions_by_user_endpoint"] = endpoints.endpoint_partitions(
                members, configured, self.context.topics
            )
        config = self.context.config
        if self._is_reporting:
            lists["acceptable_recovery_lag"] = i32(config.recovery_lag_max)
            lists["task_offset_interval"] = duration(config.task_offset_interval_ms)
        return response(
            member_id=member.member_id,
            member_epoch=i32(member.epoch),
            heartbeat_interval=duration(self._interval_ms(member)),
            status=tuple(
                rs.Status(status_code=i8(code), status_detail=detail)
                for code, detail in self.statuses
            ),
            endpoint_information_epoch=i32(self.soft.endpoint_epoch),
            **lists,
        )

    @property
    def _is_reporting(self) -> bool:
        return self.soft.progress.is_reporting(self.before.member_id)

    def _interval_ms(self, member: Member) -> int:
        """Nobody can call a member that waits for tasks or topics, so it asks more often."""
        config = self.context.config
        is_passing = any(status in _PASSING for status, _ in self.statuses)
        is_waiting = member.state is MemberState.UNRELEASED_TASKS or is_passing
        if not is_waiting or not config.unsettled_interval_ms:
            return config.heartbeat_interval_ms
        return min(config.unsettled_interval_ms, config.heartbeat_interval_ms)


def initial_delay_timer(
    group_id: str, delay_ms: int, context: HeartbeatContext
) -> StartTimer[GroupShard]:
    """When the initial rebalance delay is over, compute the target for all who came."""

    def fire(state: GroupShard) -> Result[GroupShard, None]:
        group = state.streams.get(group_id)
        if group is None:
            return Result(None)
        group.soft.is_delayed = False
        configured = group.soft.configured
        if not group.members or configured is None or group.epoch <= group.assignment_epoch:
            return Result(None)
        target = compute_target(group, group.member_list, configured, context.config)
        now_ms = context.now_ms + delay_ms
        return Result(None, target_records(group, target, group.epoch, now_ms))

    return StartTimer(("streams initial delay", group_id), delay_ms, fire)


def _updated_metadata(
    known: rec.StreamsGroupMemberMetadataValue | None,
    request: HeartbeatRequest,
    context: HeartbeatContext,
    parts: tuple[str, ...] | None,
) -> rec.StreamsGroupMemberMetadataValue:
    """What the member says of itself; what it leaves out stays as it was."""
    base = known or rec.StreamsGroupMemberMetadataValue(
        instance_id=None,
        rack_id=None,
        client_id="",
        client_host="",
        rebalance_timeout_ms=-1,
        topology_epoch=-1,
        process_id="",
        user_endpoint=None,
        client_tags=(),
    )
    said: dict[str, Any] = {"client_id": context.client_id, "client_host": context.client_host}
    if request.rack_id is not None:
        said["rack_id"] = request.rack_id
    timeout_ms = to_ms(request.rebalance_timeout)
    if timeout_ms != -1:
        said["rebalance_timeout_ms"] = timeout_ms
    if request.topology is not None:
        said["topology_epoch"] = request.topology.epoch
    if parts is not None:
        said["subtopologies"] = parts
    if request.process_id is not None:
        said["process_id"] = request.process_id
    if request.user_endpoint is not None:
        endpoint = request.user_endpoint
        said["user_endpoint"] = rec.Endpoint(host=endpoint.host, port=endpoint.port)
    if request.client_tags is not None:
        tags = ((tag.key, tag.value) for tag in request.client_tags)
        said["client_tags"] = translate.key_values(tags)
    return replace(base, **said)


def _news_of(
    before: rec.StreamsGroupMemberMetadataValue | None,
    after: rec.StreamsGroupMemberMetadataValue,
) -> str:
    """What a member says of itself that is new."""
    if before is None:
        return f"joined from {after.client_host.lstrip('/')} ({after.client_id})"
    names = [field.name for field in fields(after)]
    changed = [name for name in names if getattr(before, name) != getattr(after, name)]
    return f"changed its {', '.join(name.replace('_', ' ') for name in changed)}"


def _not_found(message: str) -> ApiError:
    return ApiError(ErrorCode.group_id_not_found, message)


def _unknown_member(group: StreamsGroup, member_id: str) -> ApiError:
    message = f"Member {member_id} is not a member of group {group.group_id}."
    return ApiError(ErrorCode.unknown_member_id, message)


def _fenced(how: str, epoch: int, member: Member) -> ApiError:
    return ApiError(
        ErrorCode.fenced_member_epoch,
        f"The streams group member has a {how} member epoch ({epoch}) than the one known by the "
        f"group coordinator ({member.epoch}). The member must abandon all its partitions and "
        "rejoin.",
    )
