"""The controller: pure functions from the image and a request to records and an answer."""

from streamkit.broker.kraft.controller.brokers import (
    Registration,
    begin_controlled_shutdown,
    check_broker_epoch,
    fence_broker,
    register_broker,
    register_controller,
    unfence_broker,
    unregister_broker,
)
from streamkit.broker.kraft.controller.configs import (
    ConfigChange,
    ConfigOp,
    ResourceChange,
    incremental_alter_configs,
    replace_configs,
)
from streamkit.broker.kraft.controller.features import (
    FeatureUpdate,
    UpgradeType,
    update_features,
)
from streamkit.broker.kraft.controller.producer_ids import (
    PRODUCER_ID_BLOCK_SIZE,
    ProducerIdBlock,
    allocate_producer_ids,
)
from streamkit.broker.kraft.controller.results import ItemResult, Outcome
from streamkit.broker.kraft.controller.topics import (
    INTERNAL_TOPICS,
    CreatedTopic,
    DeletedTopic,
    MorePartitions,
    NewTopic,
    TopicDefaults,
    create_partitions,
    create_topics,
    delete_topics,
    is_internal,
    topic_name_problem,
)

__all__ = [
    "INTERNAL_TOPICS",
    "PRODUCER_ID_BLOCK_SIZE",
    "ConfigChange",
    "ConfigOp",
    "CreatedTopic",
    "DeletedTopic",
    "FeatureUpdate",
    "ItemResult",
    "MorePartitions",
    "NewTopic",
    "Outcome",
    "ProducerIdBlock",
    "Registration",
    "ResourceChange",
    "TopicDefaults",
    "UpgradeType",
    "allocate_producer_ids",
    "begin_controlled_shutdown",
    "check_broker_epoch",
    "create_partitions",
    "create_topics",
    "delete_topics",
    "fence_broker",
    "incremental_alter_configs",
    "is_internal",
    "register_broker",
    "register_controller",
    "replace_configs",
    "topic_name_problem",
    "unfence_broker",
    "unregister_broker",
    "update_features",
]
