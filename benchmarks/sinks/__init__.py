"""The providers of the benchmarks: count what they take, name what came twice, and answer as late as they are told."""

from benchmarks.sinks.client import Arrivals, Sink

__all__ = ["Arrivals", "Sink"]
