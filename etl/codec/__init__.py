"""Convert the bytes of records to readings, and back."""
