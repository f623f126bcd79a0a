"""The mapping language: where a file or a record holds equipment ID, timestamp and measurements."""
