"""Load machine sensor data from Kafka into Cassandra, in batches."""
