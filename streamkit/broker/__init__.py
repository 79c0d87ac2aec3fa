"""The broker: the Kafka wire protocol, a log, KRaft and the coordinators, for any client."""
