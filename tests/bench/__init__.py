"""What the stages and their peers do in a second, on local services; nothing here asserts (see docs/benchmarks.md)."""
