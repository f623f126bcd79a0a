"""The client of Kafka: depends on no format and no stage."""
