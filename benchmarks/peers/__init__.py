"""Scoring and search beside other libraries, each in a process of its own."""
