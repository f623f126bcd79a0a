"""Load machine sensor data from Kafka into Cassandra, in batches."""

__version__ = "0.1.0"
