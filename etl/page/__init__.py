"""The page for plant engineers: `etl page`."""
