"""This node as a broker of its own cluster: it registers, is unfenced, and leaves again.

The node holds the lock of its data directory, so an earlier incarnation of it is surely dead:
nobody waits for a session to end.
"""

from __future__ import annotations

from uuid import UUID

from streamkit.broker.kraft import controller
from streamkit.broker.kraft.controller.results import Outcome
from streamkit.broker.kraft.image import MetadataImage
from streamkit.broker.kraft.quorum import Quorum
from streamkit.broker.kraft.records import Endpoint


class Membership:
    """The registration of the local node."""

    def __init__(self, quorum: Quorum, incarnation_id: UUID) -> None:
        self.broker_epoch = -1
        self._quorum = quorum
        self._node_id = quorum.properties.node_id
        self._incarnation_id = incarnation_id

    async def register(
        self,
        endpoints: tuple[Endpoint, ...],
        *,
        controller_endpoints: tuple[Endpoint, ...] = (),
        rack: str | None = None,
    ) -> int:
        """Register the node as controller and as fenced broker; its broker epoch."""
        registration = controller.Registration(
            self._node_id,
            self._incarnation_id,
            endpoints,
            (self._quorum.properties.directory_id,),
            rack,
        )

        def operation(image: MetadataImage) -> Outcome[int]:
            # The broker's record comes first: its offset, the epoch, is that of the batch.
            broker = controller.register_broker(
                image, registration, next_offset=self._quorum.next_offset, has_session=False
            )
            own = controller.register_controller(
                self._node_id, self._incarnation_id, controller_endpoints or endpoints
            )
            return Outcome((*broker.records, *own.records), broker.response)

        self.broker_epoch = await self._quorum.write(operation)
        return self.broker_epoch

    async def unfence(self) -> None:
        """The node is ready to lead: unfence it, which elects it where nobody leads."""
        await self._quorum.write(
            lambda image: controller.unfence_broker(image, self._node_id, self.broker_epoch)
        )

    async def leave(self) -> None:
        """Give up every leadership, then be fenced."""
        await self._quorum.write(
            lambda image: controller.begin_controlled_shutdown(
                image, self._node_id, self.broker_epoch
            )
        )
        await self._quorum.write(
            lambda image: controller.fence_broker(image, self._node_id, self.broker_epoch)
        )
