"""The benchmarks are no part of a source distribution; without them no test here is collected."""

from pathlib import Path

if not (Path(__file__).parents[2] / "benchmarks").is_dir():
    collect_ignore_glob = ["test_*.py"]
