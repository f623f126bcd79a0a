"""The stages on a twin of Kafka, Cassandra, workspace and clock, under seeded schedules of crashes and concurrent runs.

A schedule is a function of its seed. Each call to a service is a point at which its process may be killed or
terminated, the call may fail with or without effect, and other processes may go first.
"""
