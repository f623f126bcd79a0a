"""The report of some days as one HTML or PDF file."""
