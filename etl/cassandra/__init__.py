"""The client of Cassandra: treats tables as data, and depends on no stage."""
