"""What page and report both say."""
