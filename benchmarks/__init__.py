"""Speed and memory beside other engines; `python -m benchmarks.run` from the root of the repository."""
