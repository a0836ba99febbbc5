"""One encrypted, logged-in connection over a long line: the channel against smtplib's kept connection."""

import os
import smtplib
import ssl
import tempfile
import time
from collections.abc import Callable
from email.message import EmailMessage
from email.utils import make_msgid
from pathlib import Path

import trustme

from benchmarks import plots
from benchmarks.report import Comparison, Goal
from benchmarks.rows import TEXT
from benchmarks.run import Benchmark, Option, Run, progress
from benchmarks.sinks import Sink
from channels.base import Message
from channels.email import EmailChannel, SmtpAccount

USER, PASSWORD = "notifier@sink.test", "not-a-secret"  # the sink takes any


def measure(run: Run) -> None:
    """Both in this process, message after message, in turn."""
    authority, certificate = trustme.CA(), ""
    with tempfile.TemporaryDirectory(prefix="benchmark-tls-") as directory:
        certificate = str(Path(directory) / "server.pem")
        authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(certificate)
        trusted = str(Path(directory) / "authority.pem")
        authority.cert_pem.write_to_path(trusted)
        before = os.environ.get("SSL_CERT_FILE")
        os.environ["SSL_CERT_FILE"] = trusted  # the channel trusts the system's authorities, or this file's
        try:
            with Sink("smtp", certificate=certificate, round_trip_ms=run.options.round_trip) as sink:
                compare(run, sink)
        finally:
            os.environ.pop("SSL_CERT_FILE")
            if before is not None:
                os.environ["SSL_CERT_FILE"] = before


def compare(run: Run, sink: Sink) -> None:
    """Rates over all messages, connecting included; and the milliseconds of the middle one."""
    ours: list[list[float]] = []
    reference: list[list[float]] = []

    def side(name: str, send: Callable[[int, list[float]], None], kept: list[list[float]]) -> None:
        sink.reset()
        moments: list[float] = [time.perf_counter()]
        with progress(name, run.options.messages) as tell:
            send(run.options.messages, Ticks(moments, tell))
        kept.append(moments)
        arrivals = sink.arrivals()
        run.result.count(run.options.messages, arrivals.distinct, arrivals.doubles)

    run.in_turn(
        lambda _: side("the channel", lambda number, ticks: by_channel(sink.port, number, ticks), ours),
        lambda _: side("smtplib", lambda number, ticks: by_smtplib(sink.port, number, ticks), reference),
    )
    run.result.add(
        Comparison(
            "STARTTLS + AUTH, one connection",
            "messages/s",
            [rate(one) for one in ours],
            [rate(one) for one in reference],
            "smtplib, kept",
            Goal(1.5, 2.0),
            digits=1,
        )
    )
    run.result.raw["moments"] = {"ours": ours, "smtplib": reference}
    draw(run, ours, reference)


class Ticks(list[float]):
    """Moments, told to a progress bar as they come."""

    def __init__(self, kept: list[float], tell: Callable[[int], None]) -> None:
        super().__init__()
        self._kept, self._tell = kept, tell

    def append(self, moment: float) -> None:
        self._kept.append(moment)
        self._tell(len(self._kept) - 1)


def rate(moments: list[float]) -> float:
    """Messages a second, the connecting included."""
    return (len(moments) - 1) / (moments[-1] - moments[0])


def by_channel(port: int, number: int, moments: list[float]) -> None:
    """As a worker's one connection would."""
    channel = EmailChannel()
    account = SmtpAccount(
        host="localhost", port=port, security="starttls", user=USER, password=PASSWORD, from_email=USER
    )
    try:
        for count in range(number):
            tag = f"bench-c{count}"
            channel.send(
                Message(to=f"u{count}@sink.test", text=TEXT.format(tag=tag), reference=tag, subject="Your order"),
                account,
            )
            moments.append(time.perf_counter())
    finally:
        channel.close()


def by_smtplib(port: int, number: int, moments: list[float]) -> None:
    """Connected once, then a dialogue of four round trips a message."""
    with smtplib.SMTP("localhost", port, local_hostname="localhost") as server:
        server.starttls(context=ssl.create_default_context())
        server.login(USER, PASSWORD)
        for count in range(number):
            mail = EmailMessage()
            mail["From"], mail["To"], mail["Subject"] = USER, f"u{count}@sink.test", "Your order"
            mail["Message-ID"] = make_msgid(domain="sink.test")
            mail.set_content(TEXT.format(tag=f"bench-s{count}"))
            server.send_message(mail)
            moments.append(time.perf_counter())


def draw(run: Run, ours: list[list[float]], reference: list[list[float]]) -> None:
    """Messages over time, every round a line."""
    title = f"One connection, STARTTLS + AUTH, {run.options.round_trip} ms a round trip"
    with plots.figure(run.plot, title) as axes:
        for sides, colour, name in (
            (ours, plots.OURS, "Notifier's channel"),
            (reference, plots.REFERENCE, "smtplib, kept connection"),
        ):
            for number, moments in enumerate(sides):
                seconds = [moment - moments[0] for moment in moments]
                axes.plot(seconds, range(len(seconds)), color=colour, label=name if number == 0 else None)
        figure = run.result.comparisons[0]
        axes.set_title(
            f"{figure.spread(figure.ours)} against {figure.spread(figure.reference)} messages/s: {figure.shown}",
            fontsize=10,
        )
        axes.set_xlabel("seconds, the connecting included")
        axes.set_ylabel("messages that the server has taken")
        axes.set_xlim(left=0)
        axes.set_ylim(bottom=0)
        axes.legend(frameon=False, loc="lower right")


BENCHMARK = Benchmark(
    "roundtrips",
    "STARTTLS + AUTH over a line of 5 ms a round trip, one connection, against smtplib's kept one",
    measure,
    (
        Option("messages", 500, 60, "in each run"),
        Option("round-trip", 5, 5, "milliseconds before each answer; commands sent together share one"),
    ),
)
