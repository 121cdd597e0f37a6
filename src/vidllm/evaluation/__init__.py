"""Benchmarks: predictions against references, every number with the convention it follows."""
