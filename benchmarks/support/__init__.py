"""What several benchmarks share: timing, records of results, stages, and the programs that they time."""
