"""Measurements, each printing what it found; run them as `python -m benchmarks.NAME`."""
