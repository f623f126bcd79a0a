"""The words: what a reading, a machine, a table is; knows no service."""
