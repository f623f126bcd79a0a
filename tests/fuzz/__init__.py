"""Fuzzers of everything that reads input from outside: seeded mutations of a corpus, in batches."""
