"""The demo page at `/`, as a tester with a browser sees it."""

import re
from collections.abc import Callable
from contextlib import AbstractContextManager

import pytest
from playwright.sync_api import Locator, Page, Route, expect

from tests.browser.conftest import Visit

pytestmark = pytest.mark.real_server

Visitor = Callable[..., AbstractContextManager[Visit]]
CANARY = '<img src=x onerror="window.pwned=1">{{ 7*7 }}%s'
LONG = "Donaudampfschifffahrtsgesellschaftskapitän" * 12
# Names and addresses; everything else on the page is translated.
NAMES = re.compile(
    r"\b(Notifier|API|EN|RU|SMS|SMTP|STARTTLS|SSL/TLS|Telegram|HTTP|JavaScript|HTML|smtp_\w+|from_email|English|wrong"
    r"|Ada Lovelace)\b|\S+@\S+|\{\w+\}"
)


def open_user_form(page: Page) -> None:
    """It is behind "New" once there is a user."""
    if not page.locator("#user-form").is_visible():
        page.locator("#new-user").click()


def create_user(page: Page, **fields: str) -> None:
    """Fill in these fields of the form, and send it."""
    open_user_form(page)
    for name, value in fields.items():
        page.locator(f"#user-form [name={name}]").fill(value)
    page.locator("#user-form [type=submit]").click()
    expect(page.locator("#person")).to_be_visible()


def send(page: Page, **fields: str) -> None:
    for name, value in fields.items():
        page.locator(f"#message-form [name={name}]").fill(value)
    page.locator("#message-form [type=submit]").click()


def throw_switch(page: Page, channel: str, name: str) -> None:
    item = page.locator(f".switch[data-channel={channel}]")
    item.locator("select").select_option(name)
    expect(item).to_have_attribute("data-on", "yes" if name == "ok" else "no")


def attempts(page: Page) -> Locator:
    return page.locator("#attempts .attempt")


def inbox(page: Page, channel: str) -> Locator:
    return page.locator(f".box[data-channel={channel}] .message")


def expect_chain(page: Page, status: str, *outcomes: tuple[str, str, str]) -> None:
    """The status, and in order each attempt's channel, outcome and code."""
    expect(page.locator("#status")).to_have_attribute("data-status", status)
    expect(attempts(page)).to_have_count(len(outcomes))
    for index, (channel, outcome, code) in enumerate(outcomes):
        attempt = attempts(page).nth(index)
        expect(attempt).to_have_attribute("data-channel", channel)
        expect(attempt).to_have_attribute("data-outcome", outcome)
        expect(attempt.locator(".a-code")).to_have_text(code)


def test_an_email_is_sent_and_read_in_the_inbox(visit: Visit) -> None:
    page = visit.page
    create_user(page, name="Grace Hopper", email="grace@example.com")
    expect(page.locator("#people option:checked")).to_have_text("Grace Hopper")
    send(page, subject="Good morning", message="The first line.\nThe second line.")
    expect_chain(page, "sent", ("email", "accepted", ""))
    expect(attempts(page).locator(".a-ms")).to_have_text(re.compile(r"^[\d,]+ ms$"))
    expect(page.locator(".node[data-channel=email]")).to_have_attribute("data-state", "accepted")
    expect(page.locator(".node[data-channel=sms]")).to_have_attribute("data-state", "spared")
    expect(inbox(page, "email").locator(".m-to")).to_have_text("grace@example.com")
    expect(inbox(page, "email").locator(".m-subject")).to_have_text("Good morning")
    expect(inbox(page, "email").locator(".m-text")).to_have_text("The first line.\nThe second line.")
    expect(page.locator("#curl")).to_contain_text(f"curl -X POST {visit.address}api/notifications/")
    expect(page.locator("#curl")).to_contain_text('"subject":"Good morning"')


@pytest.mark.parametrize("missing", ["**/api/notifications/*/", "**/api/notifications/*/events/"])
def test_a_change_is_told_or_asked_for(visit: Visit, missing: str) -> None:
    """Each way alone is enough."""
    page = visit.page
    page.route(missing, lambda route: route.fulfill(status=503, body=""))
    create_user(page, name="Ada", email="ada@example.com")
    send(page, message="By whatever way")
    expect_chain(page, "sent", ("email", "accepted", ""))
    visit.complaints.clear()  # Chromium notes each answer of ours


def test_a_chain_goes_on_to_the_next_channel_that_works(visit: Visit) -> None:
    page = visit.page
    create_user(page, name="Ada", email="ada@example.com", phone="+12025550123", telegram_chat_id="4711")
    throw_switch(page, "email", "refused")
    send(page, message="By whatever way")
    expect_chain(page, "sent", ("email", "failed", "unreachable"), ("sms", "accepted", ""))
    expect(inbox(page, "sms").locator(".m-text")).to_have_text("By whatever way")
    throw_switch(page, "sms", "refused")
    send(page, message="By the last way")
    expect_chain(
        page,
        "sent",
        ("email", "failed", "unreachable"),
        ("sms", "failed", "unreachable"),
        ("telegram", "accepted", ""),
    )
    expect(inbox(page, "telegram").locator(".m-text")).to_have_text("By the last way")
    expect(inbox(page, "email")).to_have_count(0)


def test_with_everything_down_the_next_round_is_shown_and_delivers(
    visit: Visit, next_round: Callable[[], None]
) -> None:
    page = visit.page
    page.locator("[data-scenario=all]").click()
    expect_chain(page, "queued", *((name, "failed", "unreachable") for name in ("email", "sms", "telegram")))
    expect(page.locator("#verdict")).to_have_text(re.compile(r"^Next round in 1?\d:\d\d$"))
    expect(page.locator("#cancel")).to_be_visible()
    page.locator("[data-scenario=restore]").click()
    for channel in ("email", "sms", "telegram"):
        expect(page.locator(f".switch[data-channel={channel}]")).to_have_attribute("data-on", "yes")
    next_round()
    expect(page.locator("#status")).to_have_attribute("data-status", "sent")
    expect(attempts(page).last).to_have_attribute("data-outcome", "accepted")
    expect(page.locator("#attempts .round").nth(1)).to_have_text("Round 2")
    expect(inbox(page, "email").locator(".m-subject")).to_have_text("Everything was down")


def test_each_scenario_sends_by_itself(visit: Visit) -> None:
    page = visit.page
    page.locator("[data-scenario=email]").click()
    expect(inbox(page, "sms")).to_have_count(1)
    expect_chain(page, "sent", ("email", "failed", "unreachable"), ("sms", "accepted", ""))
    page.locator("[data-scenario=sms]").click()
    expect(inbox(page, "telegram")).to_have_count(1)
    page.locator("[data-scenario=restore]").click()
    for channel in ("email", "sms", "telegram"):
        expect(page.get_by_role("switch", name=channel.replace("email", "e-mail"))).to_be_checked()


def test_a_waiting_notification_is_cancelled_and_a_failed_one_retried(visit: Visit) -> None:
    page = visit.page
    page.locator("[data-scenario=all]").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "queued")
    page.locator("#cancel").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "cancelled")
    expect(page.locator("#cancel")).to_be_hidden()
    visit.expect_refusal()  # it may have been in hand for a moment: then the page asks again

    page.locator("[data-scenario=restore]").click()
    throw_switch(page, "email", "rejected")
    for channel in ("SMS", "Telegram"):
        page.locator("#order").get_by_label(channel, exact=True).uncheck()
    send(page, message="Only by e-mail")
    expect_chain(page, "failed", ("email", "failed", "invalid_address"))
    throw_switch(page, "email", "ok")
    page.locator("#retry").click()
    expect_chain(page, "sent", ("email", "failed", "invalid_address"), ("email", "accepted", ""))


def test_one_click_cancels_what_was_just_taken_in_hand(visit: Visit) -> None:
    page = visit.page
    refusals: list[str] = []

    def refuse_twice(route: Route) -> None:
        if len(refusals) == 2:
            return route.continue_()
        refusals.append(route.request.url)
        detail = {"code": "conflict", "detail": "It is sending.", "attr": None}
        return route.fulfill(status=409, json={"type": "client_error", "errors": [detail]})

    page.route("**/cancel/", refuse_twice)
    page.locator("[data-scenario=all]").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "queued")
    page.locator("#cancel").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "cancelled")
    expect(page.locator("#chain-error")).to_be_hidden()
    assert len(refusals) == 2
    visit.expect_refusal()


def test_channels_are_tried_in_the_order_chosen(visit: Visit) -> None:
    page = visit.page
    create_user(page, email="ada@example.com", phone="+12025550123", telegram_chat_id="4711")
    page.get_by_role("button", name="Move Telegram up").click()
    page.keyboard.press("Enter")  # the button keeps the focus
    send(page, message="Telegram first")
    expect_chain(page, "sent", ("telegram", "accepted", ""))
    expect(page.locator(".node").first).to_have_attribute("data-channel", "telegram")


def test_a_wrong_password_of_an_own_account_is_shown_and_sms_steps_in(visit: Visit) -> None:
    page = visit.page
    create_user(page, email="ada@example.com", phone="+12025550123")
    page.locator("#own summary").click()
    send(page, message="Through my own mailbox", smtp_user="me@example.com", smtp_password="wrong")
    expect_chain(page, "sent", ("email", "failed", "authentication_failed"), ("sms", "accepted", ""))
    expect(attempts(page).first).to_contain_text("own account of the request")
    expect(page.locator("#curl")).to_contain_text('"smtp_password":"YOUR_PASSWORD"')
    send(page, smtp_password="right")
    expect_chain(page, "sent", ("email", "accepted", ""))
    expect(inbox(page, "email").locator(".m-sender")).to_have_text("from me@example.com")


def test_what_the_api_refuses_is_said_beside_the_field(visit: Visit) -> None:
    page = visit.page
    open_user_form(page)
    page.locator("#user-form [name=phone]").fill("none at all")
    page.locator("#user-form [type=submit]").click()
    phone = page.locator("#user-form [name=phone]")
    expect(phone).to_have_attribute("aria-invalid", "true")
    expect(phone).to_be_focused()
    expect(phone).to_have_accessible_description(re.compile("valid phone number"))
    create_user(page, phone="+12025550123")
    expect(phone).not_to_have_attribute("aria-invalid", "true")

    send(page, message="")
    message = page.locator("#message")
    expect(message).to_have_accessible_description(re.compile(r"."))
    page.locator("#own summary").click()
    send(page, message="Hello", smtp_user="me@example.com")
    expect(page.locator("#smtp-password")).to_have_accessible_description("smtp_user and smtp_password go together.")
    expect(message).not_to_have_attribute("aria-invalid", "true")
    visit.expect_refusal()


def test_foreign_text_is_shown_as_it_is(visit: Visit) -> None:
    page = visit.page
    create_user(page, name=CANARY, email="ada@example.com", phone="+12025550123")
    expect(page.locator("#people option:checked")).to_have_text(CANARY)
    send(page, subject=CANARY, message=CANARY)
    expect(inbox(page, "email").locator(".m-subject")).to_have_text(CANARY)
    expect(inbox(page, "email").locator(".m-text")).to_have_text(CANARY)
    expect(page.locator("#about-subject")).to_have_text(CANARY)
    expect(page.locator("#curl")).to_contain_text("onerror=")
    assert page.evaluate("window.pwned") is None


def test_a_mails_html_is_shown_without_any_power(visit: Visit) -> None:
    page = visit.page
    html = (
        '<p style="color:red" onclick="top.pwned=1">Dear <b>reader</b></p><script>top.pwned=1</script>'
        '<img src="http://192.0.2.1/pixel.png" onerror="top.pwned=1" alt="a picture"><style>b{color:red}</style>'
        '<a href="http://192.0.2.1/">away</a>'
    )
    body = {"to": {"email": "ada@example.com"}, "message": "Dear reader", "html": html}
    assert page.request.post(f"{visit.address}api/notifications/", data=body).status == 202
    inbox(page, "email").locator("summary").click()
    frame = inbox(page, "email").frame_locator("iframe")
    expect(frame.locator("b")).to_have_text("reader")
    expect(frame.locator("body")).to_contain_text("a picture")
    expect(frame.locator("script, img, style, [onclick], [href]")).to_have_count(0)
    assert page.evaluate("window.pwned") is None


def words(page: Page) -> set[str]:
    """What a person reads or hears on the page, and what its scripts may say; not the data and the command line."""
    said: list[str] = page.evaluate(
        """() => {
          const texts = [document.title, document.body.innerText];
          texts.push(...[...document.getElementById("words").content.children].map((word) => word.textContent));
          texts.push(...[...document.querySelectorAll("option, details")].map((element) => element.textContent));
          for (const name of ["aria-label", "title", "placeholder"])
            texts.push(...[...document.querySelectorAll(`[${name}]`)].map((element) => element.getAttribute(name)));
          texts.push(document.querySelector("meta[name=description]").content);
          return texts;
        }"""
    )
    data = "\n".join(page.locator("#curl, .a-detail, .a-code, .message, #people").all_inner_texts())
    lines = {line.strip() for text in said for line in text.splitlines()}
    return {line for line in lines if line and line not in data}


def test_the_russian_page_is_russian(visitor: Visitor) -> None:
    with visitor(viewport={"width": 1280, "height": 900}) as visit:
        page = visit.page
        page.get_by_role("button", name="RU").click()
        expect(page.locator("html")).to_have_attribute("lang", "ru")
        visit.ready()
        page.locator("[data-scenario=all]").click()
        expect(page.locator("#status")).to_have_text("В очереди")
        expect(attempts(page)).to_have_count(3)
        russian = words(page)
        assert len(russian) > 150
        assert {text for text in russian if re.search("[A-Za-z]{2}", NAMES.sub("", text))} == set()

        page.locator("#new-user").click()
        page.locator("#user-form [name=phone]").fill("0")
        page.locator("#user-form [type=submit]").click()
        expect(page.locator("#user-phone")).to_have_accessible_description(re.compile("правильный номер"))
        visit.expect_refusal()


@pytest.mark.parametrize(("language", "scheme"), [("en", "light"), ("ru", "dark")])
def test_a_small_screen_needs_no_sideways_scrolling(visitor: Visitor, language: str, scheme: str) -> None:
    with visitor(locale=language, color_scheme=scheme, viewport={"width": 360, "height": 740}) as visit:
        page = visit.page
        expect(page.locator("html")).to_have_attribute("lang", language)
        create_user(page, name=LONG[:255], email="ada@example.com", phone="+12025550123", telegram_chat_id="4711")
        throw_switch(page, "email", "refused")
        send(page, subject=LONG[:255], message=LONG)
        expect(inbox(page, "sms")).to_have_count(1)
        expect(page.locator("#status")).to_have_attribute("data-status", "sent")
        assert page.evaluate("document.documentElement.scrollWidth") == 360
        small: list[str] = page.evaluate(
            """() => [...document.querySelectorAll("button, select, a, input:not([type=radio], [type=checkbox])")]
              .filter((e) => e.checkVisibility() && !e.matches(".skip") && e.getBoundingClientRect().height < 40)
              .map((e) => e.outerHTML)"""
        )
        assert small == []


def test_the_scheme_follows_the_system_until_one_is_chosen(visit: Visit) -> None:
    page = visit.page
    ground = "getComputedStyle(document.documentElement).backgroundColor"
    page.emulate_media(color_scheme="dark")
    dark = page.evaluate(ground)
    page.emulate_media(color_scheme="light")
    light = page.evaluate(ground)
    assert light != dark
    page.locator("#theme").click()
    assert page.evaluate(ground) == dark
    visit.open()
    assert page.evaluate(ground) == dark


def test_a_reload_comes_back_to_the_same_notification(visit: Visit) -> None:
    page = visit.page
    page.locator("[data-scenario=email]").click()
    expect(page.locator("#status")).to_have_attribute("data-status", "sent")
    about = page.locator("#about-meta").inner_text()
    page.reload()
    expect(page.locator("#about-meta")).to_have_text(about)
    expect(attempts(page)).to_have_count(2)
