"""Kafka and Cassandra as this project runs them: one definition for local processes and for container images."""
