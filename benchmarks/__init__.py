"""Benchmarks by claim; each is a command, ``python -m benchmarks.search.kernels``."""
