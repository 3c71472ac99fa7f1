"""A deep research: how far it is, through a reload, its report, its end, and an account that has none."""

import pytest
from playwright.async_api import expect

from shim.protocol.answer import follow_up
from tests.web.test_access import violations

PHONE = {"viewport": {"width": 390, "height": 844}, "has_touch": True, "is_mobile": True}
REPORT = (
    "## What it is\n\nA light on a tower.\n\n## Who built it\n\n| who | when |\n|---|---|\n| Sostratus | 280 BC |\n\n"
    '## What is left\n\n<img src=x onerror="window.ran = true">**Stones** in the [harbour](javascript:window.ran=true).'
)


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    """The gateway looks for the report every half second, in the place of once a minute."""
    monkeypatch.setitem(follow_up.POLLS, "research", follow_up.Rhythm(0.5, 1.0, 0.5, 240))


async def begin(chat, text: str) -> None:
    await chat.button("Search, picture, research and more").click()
    await chat.page.get_by_label("The next message").select_option("research")
    await chat.button("Save").click()
    await expect(chat.page.locator("#hint")).to_have_text("Deep research: takes minutes")
    await expect(chat.page.locator("#hint")).to_be_visible()
    await chat.send(text)


async def test_a_research_is_watched_through_a_reload_and_its_report_is_read_and_kept(
    gateway, visit, make_account, say, tmp_path
):
    async with visit(f"{gateway.base_url}/", key=make_account("scholar", plan="plus"), **PHONE) as chat:
        say(REPORT, script="research", polls=12)
        await begin(chat, "The lighthouse of Alexandria")
        group = chat.page.get_by_role("group", name="Deep research")
        await expect(group).to_contain_text("Researching")
        await expect(group.locator("li.current")).to_have_text("Search for sources")
        await expect(chat.button("Cancel the research")).to_be_visible()
        await expect(group).to_contain_text("goes on when you close this page")
        assert await violations(chat.page) == []
        await chat.reload()
        await expect(group.locator("li").first).to_be_visible()

        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        await expect(group).to_contain_text("Researched")
        await expect(group).to_contain_text("1 source")
        await expect(group.locator("li").last).to_have_text("Compare what they say")
        await chat.reload()
        await chat.button("Open the report").focus()
        await chat.page.keyboard.press("Enter")
        report = chat.page.get_by_role("dialog", name="Report")
        await expect(report.get_by_role("heading", name="Who built it")).to_be_visible()
        await expect(report.get_by_role("listitem").get_by_role("link", name="A source")).to_have_attribute(
            "href", "https://source.example.test/page"
        )
        assert await violations(chat.page) == []
        await report.get_by_role("button", name="What is left").click()
        await expect(report.get_by_role("heading", name="What is left")).to_be_focused()
        for name, wanted in (
            ("Markdown", "## Sources\n\n1. [A source](<https://source"),
            ("Web page (HTML)", "<table"),
        ):
            async with chat.page.expect_download() as download:
                await report.get_by_role("button", name=name).click()
            await (await download.value).save_as(tmp_path / "report")
            assert wanted in (tmp_path / "report").read_text()
        await chat.page.keyboard.press("Escape")
        await expect(chat.button("Open the report")).to_be_focused()
        assert await chat.page.evaluate("Boolean(window.ran)") is False
        chat.check()


async def test_a_research_is_cancelled_at_the_gateway_too(gateway, visit, make_account, say):
    async with visit(f"{gateway.base_url}/", key=make_account("hasty", plan="plus")) as chat:
        say("Never.", script="research", polls=500)
        await begin(chat, "Everything")
        await expect(chat.page.locator(".research li.current")).to_have_text("Search for sources")
        async with chat.page.expect_response("**/v1/responses/*/cancel") as cancelled:
            await chat.button("Cancel the research").click()
        assert (await (await cancelled.value).json())["status"] == "cancelled"
        await expect(chat.answers.last).to_contain_text("You stopped this answer.")
        await expect(chat.page.locator(".research")).to_contain_text("The research has ended")
        await expect(chat.button("Open the report")).to_be_hidden()
        chat.check()


async def test_a_research_without_a_report_says_so_and_is_tried_again_as_one(gateway, visit, make_account, say):
    async with visit(f"{gateway.base_url}/", key=make_account("poor", plan="free")) as chat:
        say("x", script="research_failed", polls=0)
        await begin(chat, "Anything")
        failure = chat.answers.last.locator(".failure")
        await expect(failure).to_contain_text("The research ended without a report")
        await expect(failure).to_contain_text("may have no deep research")
        assert await violations(chat.page) == []
        async with chat.page.expect_request("**/v1/responses") as asked:
            await failure.get_by_role("button", name="Try again").click()
        assert (await asked.value).post_data_json["chatgpt"]["hints"] == ["research"]
        await expect(chat.button("Open the report")).to_be_visible()
        await expect(chat.page.locator("#hint")).not_to_contain_text("Deep research")
        chat.check()
