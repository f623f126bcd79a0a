"""The delivery core of every stage."""
