"""One client of one cluster: connections, metadata, and requests with retries.

`Fetcher`, `BatchSender`, `Offsets` and `Admin` are built on it. All of it lives in the event
loop of the caller.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from enum import IntEnum
from types import TracebackType
from typing import Any, Self, TypeVar

from streamkit.client.background import Background
from streamkit.client.connections import Channel, Connections
from streamkit.client.draft import Ask, Draft, api_of, message_for
from streamkit.client.errors import UnsupportedByBrokerError, raise_for
from streamkit.client.metadata import BrokerView, ClusterView
from streamkit.client.refresh import Metadata
from streamkit.client.settings import Address, ClientSettings
from streamkit.common.errors import RefreshMetadataError, RetriableError
from streamkit.common.seams import Seams
from streamkit.net.dial import Connection
from streamkit.net.errors import ConnectionLost
from streamkit.protocol.apis import ApiKey, VersionRange
from streamkit.protocol.versions import upgrade

_log = logging.getLogger(__name__)

T = TypeVar("T")
Check = Callable[[Any], None]
"""Looks at a response and raises for the error codes in it."""


class CoordinatorKind(IntEnum):
    """What a coordinator is looked up for."""

    GROUP = 0
    TRANSACTION = 1
    SHARE = 2


class Client:
    """A connection to a cluster.

        async with Client(settings, system_seams()) as client:
            view = await client.metadata.refresh(["orders"])
            response = await client.call(view.leader_of(tp), Draft(ApiKey.LIST_OFFSETS, {...}))

    Entering connects to one of `bootstrap.servers`; it raises ConnectionLost when none of them
    answers within `default.api.timeout.ms`, and UsageError when a login or a certificate is
    refused.
    """

    def __init__(self, settings: ClientSettings, seams: Seams) -> None:
        self.settings = settings
        self.seams = seams
        self.background = Background()
        self._connections = Connections(settings, seams, self.background)
        self._coordinators: dict[tuple[CoordinatorKind, str], BrokerView] = {}
        self._reached_ms = seams.clock.monotonic_ms()
        self.metadata = Metadata(settings, seams, self._ask_metadata, self._rebootstrap)

    @property
    def view(self) -> ClusterView:
        """What is known of the cluster."""
        return self.metadata.view

    async def __aenter__(self) -> Self:
        await self.background.__aenter__()
        try:
            self.background.spawn(self.metadata.run(), "metadata")
            await self.retrying(self.metadata.refresh)
        except BaseException as error:
            await self.__aexit__(type(error), error, error.__traceback__)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._connections.close()
        await self.background.__aexit__(kind, error, trace)

    async def call(
        self,
        node_id: int,
        ask: Ask,
        *,
        channel: Channel = Channel.REQUEST,
        timeout_ms: int | None = None,
    ) -> Any:
        """Send one request to a broker, once; the answer in the version that was spoken.

        Raises RefreshMetadataError when the broker is not known, ConnectionLost when the
        connection fails or no answer comes in time.
        """
        connection = await self.connection(node_id, channel)
        return await connection.call(self.fit(connection, ask), timeout_ms)

    async def call_any(self, ask: Ask, *, timeout_ms: int | None = None) -> Any:
        """Send one request to whichever broker can be reached; the answer as it was spoken."""
        connection = await self._any_connection()
        return await connection.call(self.fit(connection, ask), timeout_ms)

    async def supported_features(self) -> Mapping[str, VersionRange]:
        """The features that a broker advertises, extensions of ours among them (ApiVersions)."""
        connection = await self._any_connection()
        return connection.negotiated.supported_features

    async def request(self, node_id: int | None, ask: Ask, check: Check | None = None) -> Any:
        """`call` (`call_any` for None) with retries; the canonical answer, once `check` passes."""

        async def attempt() -> Any:
            spoken = await (self.call_any(ask) if node_id is None else self.call(node_id, ask))
            response = upgrade(spoken)
            if check is not None:
                check(response)
            return response

        return await self.retrying(attempt)

    async def call_coordinator(
        self,
        kind: CoordinatorKind,
        key: str,
        ask: Ask,
        check: Check | None = None,
        *,
        canonical: bool = True,
        timeout_ms: int | None = None,
    ) -> Any:
        """Send a request to the coordinator of a group or transactional id, with retries.

        `check` raises for the error codes in the answer; after a RefreshMetadataError the
        coordinator is looked up again. The answer is as it was spoken unless `canonical`.
        """

        async def attempt() -> Any:
            try:
                connection = await self.coordinator_connection(kind, key)
                response = await connection.call(self.fit(connection, ask), timeout_ms)
                response = upgrade(response) if canonical else response
                if check is not None:
                    check(response)
            except RefreshMetadataError:
                self.forget_coordinator(kind, key)
                raise
            return response

        return await self.retrying(attempt)

    async def coordinator(self, kind: CoordinatorKind, key: str) -> BrokerView:
        """The coordinator's broker; looked up once, until `forget_coordinator`."""
        known = self._coordinators.get((kind, key))
        if known is not None:
            return known
        fields = {"key": key, "key_type": int(kind), "coordinator_keys": (key,)}
        answer = await self.call_any(Draft(ApiKey.FIND_COORDINATOR, fields))
        found = answer.coordinators[0] if answer.__version__ >= 4 else answer
        what = f"coordinator of {kind.name.lower()} {key!r}"
        raise_for(found.error_code, what, found.error_message if answer.__version__ else None)
        broker = BrokerView(found.node_id, found.host, found.port)
        self._coordinators[kind, key] = broker
        return broker

    async def coordinator_connection(self, kind: CoordinatorKind, key: str) -> Connection:
        """The connection to the coordinator, looked up and opened when needed."""
        broker = await self.coordinator(kind, key)
        return await self._connections.get((broker.host, broker.port), Channel.COORDINATOR)

    def forget_coordinator(self, kind: CoordinatorKind, key: str) -> None:
        """Look the coordinator up again next time."""
        self._coordinators.pop((kind, key), None)

    async def retrying(
        self, attempt: Callable[[], Awaitable[T]], timeout_ms: int | None = None
    ) -> T:
        """Run `attempt` again after each RetriableError, with back-off, until the time is up.

        `timeout_ms` is `default.api.timeout.ms` when not given; afterwards the last error is
        raised.
        """
        clock, backoff = self.seams.clock, self.settings.retry_backoff
        timeout = self.settings.default_api_timeout_ms if timeout_ms is None else timeout_ms
        deadline = clock.monotonic_ms() + timeout
        attempts = 0
        while True:
            try:
                return await attempt()
            except RetriableError as error:
                attempts += 1
                delay = backoff.delay_ms(attempts, self.seams.random.random())
                if clock.monotonic_ms() + delay >= deadline:
                    raise
                _log.debug("attempt %d: %s", attempts, error)
                if isinstance(error, RefreshMetadataError):
                    self.metadata.request_refresh()
            await asyncio.sleep(delay / 1000)

    async def connection(self, node_id: int, channel: Channel) -> Connection:
        """The connection to a broker. Raises RefreshMetadataError for one that is not known."""
        return await self._connections.get(self._address(node_id), channel)

    def ready_connection(self, node_id: int, channel: Channel) -> Connection | None:
        """The connection to a broker, if it is open."""
        broker = self.view.brokers.get(node_id)
        if broker is None:
            return None
        return self._connections.ready((broker.host, broker.port), channel)

    def fit(self, connection: Connection, ask: Ask) -> Any:
        """The message in the version that this connection speaks."""
        api = api_of(ask)
        version = connection.version_of(api)
        if version is None:
            raise UnsupportedByBrokerError(f"the broker does not serve {api.name}")
        if isinstance(ask, Draft):
            if version < ask.version_min:
                raise UnsupportedByBrokerError(
                    f"the broker serves {api.name} up to version {version} only, "
                    f"{ask.version_min} is needed"
                )
            if ask.version_max is not None:
                version = min(version, ask.version_max)
        return message_for(ask, version)

    def _address(self, node_id: int) -> Address:
        broker = self.view.brokers.get(node_id)
        if broker is None:
            raise RefreshMetadataError(f"broker {node_id} is not known; refreshing metadata")
        return broker.host, broker.port

    async def _ask_metadata(self, draft: Draft) -> Any:
        response = await self.call_any(draft)
        self._reached_ms = self.seams.clock.monotonic_ms()
        return response

    def _rebootstrap(self) -> None:
        """Forget the brokers, so that the next request begins at the bootstrap list (KIP-1102)."""
        self.metadata.forget_brokers()
        self._coordinators.clear()

    async def _any_connection(self) -> Connection:
        known = [(b.host, b.port) for b in self.view.brokers.values()]
        for address in known:
            ready = self._connections.ready(address, Channel.REQUEST)
            if ready is not None:
                return ready
        if self._is_lost_too_long():
            self._rebootstrap()
            known = []
        calm = [address for address in known if not self._connections.is_backing_off(address)]
        connection = await self._first_of(self._shuffled(calm))
        if connection is None and self._may_bootstrap(known):
            # KIP-899: no known broker is reachable, so start over from the bootstrap list.
            connection = await self._first_of(self._shuffled(list(self.settings.addresses)))
        if connection is None:
            tried = ", ".join(self.settings.bootstrap_servers)
            raise ConnectionLost(f"no broker answers; bootstrap.servers are {tried}")
        return connection

    def _is_lost_too_long(self) -> bool:
        lost_ms = self.seams.clock.monotonic_ms() - self._reached_ms
        return (
            self.settings.metadata_recovery_strategy == "rebootstrap"
            and lost_ms > self.settings.metadata_recovery_rebootstrap_trigger_ms
        )

    def _may_bootstrap(self, known: list[Address]) -> bool:
        return not known or self.settings.metadata_recovery_strategy == "rebootstrap"

    async def _first_of(self, addresses: list[Address]) -> Connection | None:
        for address in addresses:
            try:
                return await self._connections.get(address, Channel.REQUEST)
            except RetriableError as error:
                _log.debug("%s:%d: %s", address[0], address[1], error)
        return None

    def _shuffled(self, addresses: list[Address]) -> list[Address]:
        left, shuffled = list(addresses), []
        while left:
            shuffled.append(left.pop(self.seams.random.randrange(len(left))))
        return shuffled
