"""The report of several days as one HTML or PDF file."""
