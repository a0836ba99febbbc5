"""The switches: what they know, and all or nothing."""

import pytest

from sandbox.switches import CHANNELS, CHOICES, Switches

ALL = [(channel, name) for channel in CHANNELS for name in CHOICES[channel]]


@pytest.mark.parametrize(("channel", "name"), ALL)
def test_every_choice_can_be_set_and_has_a_sentence(channel: str, name: str) -> None:
    switches = Switches()
    switches.set(channel, name)
    assert switches.state()[channel] == name  # type: ignore[index]
    assert CHOICES[channel][name]  # type: ignore[index]


@pytest.mark.parametrize(
    "names",
    [{"email": "blocked"}, {"sms": "busy"}, {"telegram": ""}, {"pigeon": "ok"}, {"sms": "silent", "email": "no"}],
)
def test_an_unknown_name_changes_nothing(names: dict[str, str]) -> None:
    switches = Switches()
    with pytest.raises(ValueError, match="only"):
        switches.update(names)
    assert set(switches.state().values()) == {"ok"}


def test_a_change_that_failed_is_no_change() -> None:
    def fail(channel: str, name: str) -> None:
        raise OSError("the port is taken")

    switches = Switches(on_change=fail)
    with pytest.raises(OSError, match="taken"):
        switches.set("sms", "refused")
    assert switches.get("sms") == "ok"


def test_reset_lets_everything_work_again() -> None:
    switches = Switches()
    switches.update({"email": "auth", "telegram": "blocked"})
    switches.reset()
    assert set(switches.state().values()) == {"ok"}
