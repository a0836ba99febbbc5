"""The pages that mails lead to: to look at one does nothing, and it holds nothing of who looks."""

import pytest
from django.contrib.auth.models import User
from django.test import Client

from accounts.pages import NAMES

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("name", NAMES)
def test_a_page_allows_nothing_inline_and_is_not_kept(name: str, language: str, client: Client) -> None:
    answer = client.get(f"/accounts/{name}/", headers={"Accept-Language": language})
    html = answer.content.decode()
    assert answer.status_code == 200
    assert f'<html lang="{language}">' in html
    assert "<style" not in html
    assert " style=" not in html
    assert all(" src=" in tag for tag in html.split("<script")[1:])
    assert answer.headers["Content-Security-Policy"].startswith("default-src 'none'; script-src 'self'")
    assert "no-store" in answer.headers["Cache-Control"]
    assert answer.headers["Referrer-Policy"] == "same-origin"


@pytest.mark.parametrize("name", NAMES)
def test_a_page_takes_no_post(name: str, client: Client) -> None:
    assert client.post(f"/accounts/{name}/", {"token": "x"}).status_code == 405


def test_the_librarys_tables_of_tokens_are_not_in_the_admin(client: Client) -> None:
    client.force_login(User.objects.create_superuser("root", "root@example.com", "x" * 20))
    assert "token_blacklist" not in client.get("/admin/").content.decode()
    for name in ("outstandingtoken", "blacklistedtoken"):
        assert client.get(f"/admin/token_blacklist/{name}/").status_code == 404
