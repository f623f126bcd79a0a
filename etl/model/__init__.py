"""The model: readings, machines, tables; independent of services."""
