"""Results that page and report share."""
