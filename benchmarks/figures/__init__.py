"""Every benchmark, in the order in which `all` runs them."""

from benchmarks.figures import (
    backup,
    bulk,
    delivery,
    fallback,
    growth,
    intake,
    latency50,
    memory,
    priority,
    roundtrips,
    scaling,
)
from benchmarks.run import Benchmark

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        delivery.BENCHMARK,
        latency50.BENCHMARK,
        roundtrips.BENCHMARK,
        intake.BENCHMARK,
        bulk.BENCHMARK,
        memory.BENCHMARK,
        growth.BENCHMARK,
        fallback.BENCHMARK,
        priority.BENCHMARK,
        scaling.BENCHMARK,
        backup.BENCHMARK,
    )
}
