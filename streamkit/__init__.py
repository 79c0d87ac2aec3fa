"""streamkit: Kafka Streams for Python, with the cluster in the box."""
