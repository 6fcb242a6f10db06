"""Benchmarks: side by side in one run, last line one JSON object."""
