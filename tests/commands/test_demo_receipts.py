"""In the demo, the test recipients' receipts come by themselves."""

from pathlib import Path

import requests

from tests.commands.test_demo import Demo, curl
from tests.servers.base import wait_until


def test_a_delivered_mail_is_delivered_and_a_bounced_one_goes_on(tmp_path: Path) -> None:
    demo = Demo(tmp_path)
    try:
        places = []
        for body in (
            '{"to": {"email": "delivered@simulator.test"}, "message": "Hello"}',
            '{"to": {"telegram_chat_id": "100"}, "message": "Hello", "channels": ["telegram"]}',
            '{"to": {"email": "bounced@simulator.test", "phone": "+12015550100"}, "message": "Hello"}',
        ):
            row = curl(f"{demo.page}api/notifications/", body)
            places.append(f"{demo.page}api/notifications/{row['id']}/")

        def are_delivered() -> bool:
            return all(requests.get(place, timeout=30).json()["status"] == "delivered" for place in places)

        wait_until(are_delivered, 60, "all are delivered")
        attempts = requests.get(places[2], timeout=30).json()["attempts"]
        told = [(one["channel"], one["code"] or one["outcome"], one["receipt"]) for one in attempts]
        assert told == [("email", "accepted", "bounced"), ("email", "bounced", None), ("sms", "accepted", "delivered")]
        assert demo.process.stop(seconds=60) == 0
    finally:
        demo.process.kill()
    assert "Traceback" not in demo.process.output
