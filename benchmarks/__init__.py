"""Speed, memory and fairness in figures: `python -m benchmarks list` explains each of them in a line.

Every figure is a ratio against a reference that is measured in the same run, the two sides in turn: machines differ,
and a shared one differs from minute to minute.
"""
