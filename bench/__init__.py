"""Measurements, not tests: nothing here decides whether Windrow is right. `make bench` writes docs/benchmarks.md.

Absolute times belong to one machine on one day. What is compared is measured in turns within one run, so that a
busy machine slows all alike; the medians and their ratios are what to read.
"""
