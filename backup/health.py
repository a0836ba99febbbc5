"""How it stands with the backups, for those who watch the service."""

from backup.models import Backup, Proof, Status

PREFIX = "notifier_backup_"


def note() -> str:
    """`ok`, `none yet`, or what is wrong: for `/health/ready`, which everybody may ask, so without a detail."""
    last = Backup.objects.exclude(status=Status.RUNNING).order_by("-pk").first()
    if last is None:
        return "none yet"
    if last.status == Status.FAILED:
        return f"the last one failed ({last.error_code})"
    proven = _last_proven()
    return "the last one that was tried does not restore" if proven and proven.proof == Proof.FAILED else "ok"


def figures() -> dict[str, float]:
    """What is measured, by the names of metrics; what is not known yet is left out."""
    found: dict[str, float] = {}
    last = Backup.objects.exclude(status=Status.RUNNING).order_by("-pk").first()
    if last is not None:
        found["last_ok"] = float(last.status == Status.OK)
    made = Backup.objects.filter(status=Status.OK).order_by("-pk").first()
    if made is not None and made.finished_at and made.duration is not None:
        found["last_success_timestamp_seconds"] = made.finished_at.timestamp()
        found["size_bytes"] = float(made.size or 0)
        found["duration_seconds"] = made.duration.total_seconds()
    proven = _last_proven()
    if proven is not None and proven.verified_at:
        found["verified_ok"] = float(proven.proof == Proof.OK)
        found["verified_timestamp_seconds"] = proven.verified_at.timestamp()
    return {f"{PREFIX}{name}": value for name, value in found.items()}


def _last_proven() -> Backup | None:
    return Backup.objects.filter(proof__in=[Proof.OK, Proof.FAILED]).order_by("-verified_at").first()
