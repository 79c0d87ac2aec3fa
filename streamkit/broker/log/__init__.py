"""The log of one partition, in Kafka's files, and the directory that holds many of them."""
