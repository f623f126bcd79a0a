"""Container images, local services and the kind cluster of this project; the command is `python -m images`.

Kafka and Cassandra have one definition each (`kafka/`, `cassandra/`), for local processes and for container images.
What only machines without a container registry use is in `without_registry/`.
"""
