"""Benchmarks: each module prints a table and writes benchmarks/results/NAME.json; run one with `make bench-NAME`."""
