"""Bytes of a record to readings, and back."""
