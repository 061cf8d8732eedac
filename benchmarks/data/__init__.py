"""Evaluation sets and real vectors that the other benchmarks read."""
