"""The page that a plant engineer opens in the morning: `etl page`."""
