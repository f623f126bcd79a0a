"""Client of the broker: knows no format and no stage."""
