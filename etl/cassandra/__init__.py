"""Client of the database: knows tables as data, no stage."""
