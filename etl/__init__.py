"""Machine sensor data from Kafka into Cassandra, in batches: one module per stage."""

__version__ = "0.1.0"
