"""`python -m benchmarks NAME [options]`, `list`, `all`."""

import signal
import sys
from argparse import ArgumentParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from benchmarks.figures import BENCHMARKS
from benchmarks.report import Result, console
from benchmarks.run import Benchmark, Run
from benchmarks.servers import Installation, installation
from benchmarks.summary import show_summary
from tests.servers.base import ServerError

RESULTS = Path(__file__).parent / "results"


def parser_of(name: str, benchmark: Benchmark | None) -> ArgumentParser:
    """The options of one benchmark; of all of them together only the common ones."""
    parser = ArgumentParser(
        prog=f"benchmark {name}",
        description=benchmark.line if benchmark else "Every benchmark, one after the other.",
    )
    parser.add_argument("--repeat", type=int, default=None, help="repetitions, each of all sides (3; quick: 1)")
    parser.add_argument(
        "--output", type=Path, default=RESULTS, help="directory for plots and raw figures (benchmarks/results)"
    )
    parser.add_argument("--format", choices=["svg", "png"], default="svg", help="of the plot (svg)")
    parser.add_argument("--quick", action="store_true", help="small numbers: shows that it runs, proves nothing")
    if benchmark is None:
        parser.add_argument("--only", nargs="+", default=[*BENCHMARKS], choices=[*BENCHMARKS], help="just these")
        return parser
    for option in benchmark.options:
        several = isinstance(option.default, tuple)
        kind = type(option.default[0] if several else option.default)
        parser.add_argument(
            f"--{option.name}",
            type=kind,
            nargs="+" if several else None,
            default=None,
            help=f"{option.help} ({option.default}; quick: {option.quick})",
        )
    return parser


def options_of(benchmark: Benchmark, given: dict[str, Any]) -> SimpleNamespace:
    """What was given, else the default, else with --quick the small one."""
    quick = given["quick"]
    chosen = {"repeat": given.get("repeat") or (1 if quick else 3), "quick": quick, "format": given["format"]}
    for option in benchmark.options:
        name = option.name.replace("-", "_")
        value = given.get(name)
        chosen[name] = value if value is not None else option.quick if quick else option.default
    return SimpleNamespace(**chosen)


def measure(benchmark: Benchmark, servers: Installation, options: SimpleNamespace, output: Path) -> Result:
    """Run it, show the table, write plot and figures."""
    console.rule(f"{benchmark.name}: {benchmark.line}", align="left")
    result = Result(benchmark.name, benchmark.line, options=vars(options))
    plot = output / f"{benchmark.name}.{options.format}"
    benchmark.measure(Run(servers, options, result, plot))
    result.show()
    figures = result.write(output)
    console.print(f"[dim]{plot}, {figures}[/]", highlight=False)
    return result


def run_all(given: dict[str, Any], output: Path) -> list[Result]:
    """One after the other; one that fails does not keep the rest from being measured."""
    results = []
    with installation() as servers:
        for name in given["only"]:
            try:
                results.append(measure(BENCHMARKS[name], servers, options_of(BENCHMARKS[name], given), output))
            except ServerError as error:
                console.print(f"{name} failed: {error}", style="red", highlight=False, markup=False)
                results.append(Result(name, BENCHMARKS[name].line, failed=str(error)))
    return results


def main(arguments: list[str]) -> int:
    """The exit code says whether everything reached what it has to."""
    name = arguments[0] if arguments else "list"
    if name in {"list", "-h", "--help"}:
        for one in BENCHMARKS.values():
            console.print(f"{one.name:<12} {one.line}", highlight=False)
        console.print("\nall          every one of them, and a summary\nNAME --help  its options", highlight=False)
        return 0
    if name != "all" and name not in BENCHMARKS:
        console.print(f"There is no benchmark {name!r}. There are: {', '.join(BENCHMARKS)}, all, list.")
        return 2
    benchmark = BENCHMARKS.get(name)
    given = vars(parser_of(name, benchmark).parse_args(arguments[1:]))
    output: Path = given["output"].resolve()
    output.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl+C: every server we started is ended
    try:
        if benchmark is None:
            results = run_all(given, output)
            show_summary(results, output)
        else:
            with installation() as servers:
                results = [measure(benchmark, servers, options_of(benchmark, given), output)]
    except ServerError as error:
        console.print(str(error), style="red", highlight=False, markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0 if all(result.ok for result in results) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
