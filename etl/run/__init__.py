"""The delivery core that every stage shares."""
