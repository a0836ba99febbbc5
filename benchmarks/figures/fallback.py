"""The mail server is down, or takes connections and says nothing: how soon, and how fast, do messages go by SMS?"""

import time
from collections.abc import Iterator
from contextlib import contextmanager

from benchmarks import load, plots, rows, services
from benchmarks.report import Comparison, Goal
from benchmarks.rows import left_open
from benchmarks.run import Benchmark, Option, Run, progress
from benchmarks.servers import running, watching
from benchmarks.sinks import Sink
from tests.servers.base import ServerError, free_port, wait_until

CHAIN = ("email", "sms")
PROBES = 3  # with circuits of five failures none of them finds one open
STEADY = (0.2, 0.9)
"""The share of the arrivals between which the rate is taken: the circuit is open then, on both sides alike."""


def measure(run: Run) -> None:
    """How soon, message by message; then how fast, a backlog against the same backlog that is for SMS alone."""
    first: dict[str, list[float]] = {"refused": [], "silent": []}
    steady: dict[str, list[float]] = {"refused": [], "silent": [], "alone": []}
    curves: dict[str, list[list[float]]] = {"refused": [], "silent": [], "alone": []}
    number = run.options.messages
    both = rows.pending(run.servers, number, channels=CHAIN)
    alone = rows.pending(run.servers, number, channels=("sms",))
    with Sink("sms") as sms:
        for number_of_round in run.rounds():
            for case in ("refused", "silent", "alone")[:: 1 if number_of_round % 2 == 0 else -1]:
                if case in first:
                    first[case] += first_fallbacks(run, sms, case)
                moments = backlog(run, sms, case, alone if case == "alone" else both)
                steady[case].append(steady_rate(moments))
                curves[case].append([moment - moments[0] for moment in moments])
    timeout = run.options.timeout
    at_once, rate = Goal(0.1, 0.05, at_most=True), Goal(0.8, 0.9)
    over = [seconds - timeout for seconds in first["silent"]]
    run.result.add(
        Comparison("refused: first fallback", "s", first["refused"], goal=at_once, digits=3),
        Comparison(f"silent: first fallback after the {timeout} s", "s", over, goal=at_once, digits=3),
        Comparison("refused: rate, circuit open", "messages/s", steady["refused"], steady["alone"], "SMS alone", rate),
        Comparison("silent: rate, circuit open", "messages/s", steady["silent"], steady["alone"], "SMS alone", rate),
    )
    run.result.notes.append(
        "First fallback: from the POST to the gateway. "
        f"Rate: between {STEADY[0]:.0%} and {STEADY[1]:.0%} of the arrivals."
    )
    run.result.raw = {"first": first, "steady": steady}
    draw(run, curves)


@contextmanager
def mail_server(case: str) -> Iterator[int]:
    """The port of a mail server in this state."""
    if case == "silent":
        with Sink("smtp", silent=True) as sink:
            yield sink.port
    else:
        yield free_port()  # nobody listens there


def settings_of(run: Run, sms: Sink, mail_port: int) -> dict[str, object]:
    """Both channels of our service."""
    return {
        "SMTP_PORT": mail_port,
        "SMTP_TIMEOUT": run.options.timeout,
        "SMS_PROVIDER": "http",
        "SMS_HTTP_URL": f"http://127.0.0.1:{sms.port}/send",
    }


def first_fallbacks(run: Run, sms: Sink, case: str) -> list[float]:
    """Seconds from the POST to the gateway, for a few messages one after the other in an idle service."""
    database = run.servers.database()
    sms.reset()
    with mail_server(case) as mail_port:
        settings = settings_of(run, sms, mail_port)
        environment = run.servers.environment(database, **settings)
        workers = run.servers.workers(environment, run.options.processes)
        with services.ours(run.servers, database, **settings) as port, running(*workers):
            run.servers.wait_for_listeners(run.options.processes)
            once(port, sms, "warm", ["sms"])
            found = [once(port, sms, str(number), list(CHAIN)) for number in range(PROBES)]
    run.servers.drop(database)
    return found


def once(port: int, sms: Sink, mark: str, chain: list[str]) -> float:
    """One message; the seconds until the gateway has it."""
    tag = f"bench-first{mark}"
    body = {
        "to": {"email": "u1@sink.test", "phone": "+12025550123"},
        "subject": "Your order",
        "message": rows.TEXT.format(tag=tag),
        "channels": chain,
    }
    asked = time.monotonic()
    load.ask(port, load.request("POST", "/api/notifications/", body), 202)
    wait_until(lambda: tag in sms.moments(), 60, "the SMS gateway has the message")
    return sms.moments()[tag] - asked


def backlog(run: Run, sms: Sink, case: str, full: str) -> list[float]:
    """Workers start on a full ledger; the moments of all arrivals at the gateway."""
    database = run.servers.database(full)
    run.servers.forget_broker()
    sms.reset()
    with mail_server(case) as mail_port:
        environment = run.servers.environment(database, **settings_of(run, sms, mail_port))
        workers = run.servers.workers(environment, run.options.processes)
        with (
            run.servers.connection(database) as cursor,
            running(*workers),
            progress(f"mail server {case}" if case != "alone" else "SMS alone", run.options.messages) as tell,
        ):
            sms.wait_for(run.options.messages, 600, watching(tell, *workers), idle=60)
            wait_until(lambda: not left_open(cursor), 60, "every status is written")
    arrivals = sms.arrivals()
    run.result.count(run.options.messages, arrivals.distinct, arrivals.doubles)
    run.servers.drop(database)
    return sorted(sms.moments().values())


def steady_rate(moments: list[float]) -> float:
    """Messages a second in the part that counts."""
    low, high = (int(share * (len(moments) - 1)) for share in STEADY)
    if moments[high] <= moments[low]:
        raise ServerError("too few messages for a rate")
    return (high - low) / (moments[high] - moments[low])


def draw(run: Run, curves: dict[str, list[list[float]]]) -> None:
    """What had arrived when, the first round of each case; and how soon the first one came."""
    with plots.figure(run.plot, "The first channel is down: messages that arrive through the second") as axes:
        for case, colour, style, name in (
            ("alone", plots.REFERENCE, "--", "SMS is the only channel"),
            ("refused", plots.OURS, "-", "mail server refuses connections"),
            ("silent", plots.THIRD, "-", f"mail server is silent ({run.options.timeout} s timeout)"),
        ):
            seconds = curves[case][0]
            axes.plot(seconds, range(1, len(seconds) + 1), color=colour, linestyle=style, label=name)
        axes.set_xlabel("seconds since the first arrival")
        axes.set_ylabel("messages that the SMS gateway has taken")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        lines = [f"{one.what}: {one.spread(one.ours)} s" for one in run.result.comparisons if not one.reference] + [
            f"{one.what}: {one.shown} of SMS alone" for one in run.result.comparisons if one.reference
        ]
        axes.set_title("\n".join(lines), fontsize=9, loc="left")
        axes.legend(frameon=False, loc="lower right")


BENCHMARK = Benchmark(
    "fallback",
    "first channel refused or silent: time to the first fallback, and the rate of it once the circuit is open",
    measure,
    (
        Option("messages", 20_000, 2_000, "of each backlog"),
        Option("timeout", 2, 2, "SMTP_TIMEOUT, seconds"),
        Option("processes", 2, 2, "workers"),
    ),
)
