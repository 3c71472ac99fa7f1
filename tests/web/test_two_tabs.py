"""Two tabs in one chat: what either has asked and was answered is there in the end, whoever saved last."""

import json
import re

from playwright.async_api import Route, expect

from tests.web.conftest import Chat, watched
from tests.web.test_tour import FINISH, delta, stream


async def beside(chat: Chat) -> Chat:
    """The same chat in another tab."""
    other = watched(chat.page.context, await chat.page.context.new_page())
    await other.page.goto(chat.page.url)
    await expect(other.answers).to_have_count(await chat.answers.count())
    return other


def versions(chat: Chat, place: int):
    return chat.questions.nth(place).get_by_role("group", name="Versions")


async def test_both_answers_are_kept_where_two_tabs_ask_at_once(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        other = await beside(chat)
        held: list[Route] = []

        def hold(route: Route) -> None:
            held.append(route)

        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", hold)
        await chat.send("Ships")
        await expect(chat.button("Stop")).to_be_visible()
        await other.ask("Harbours")
        body = stream(delta(content="A brig has two masts."), FINISH, "[DONE]")
        await chat.page.wait_for_function("document.querySelectorAll('article.answer').length === 2")
        while not held:
            await chat.page.wait_for_timeout(20)
        await held[0].fulfill(status=200, content_type="text/event-stream", body=body)

        await expect(chat.answers.last).to_contain_text("two masts")
        await expect(versions(chat, 1)).to_have_text("1/2")
        await expect(versions(other, 1)).to_have_text("2/2")
        await expect(other.questions.last).to_contain_text("Harbours")  # Nobody is pulled away from what they read.
        await chat.reload()
        await expect(versions(chat, 1)).to_have_text("1/2")
        await chat.questions.last.get_by_role("button", name="Later version").click()
        await expect(chat.questions.last).to_contain_text("Harbours")
        await expect(chat.answers.last).to_contain_text("Harbours")
        chat.check(refusals=True)


async def test_what_one_tab_takes_back_or_renames_is_so_in_the_other(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        other = await beside(chat)
        await chat.answers.last.get_by_role("button", name="Answer again").click()
        await expect(chat.answers.last).to_have_attribute("aria-busy", "false")
        shown = other.answers.last.get_by_role("group", name="Versions")
        await expect(shown).to_have_text("1/2")
        await chat.button("Undo").click()
        await expect(shown).to_be_hidden()
        await chat.chats.first.hover()
        await chat.button("Rename Lighthouses").click()
        await chat.page.get_by_label("Title").fill("Beacons")
        await chat.page.keyboard.press("Enter")
        await expect(other.page.locator("#title")).to_have_text("Beacons")
        await other.ask("Ships")
        await expect(chat.questions).to_have_text([re.compile("Lighthouses"), re.compile("Ships")])
        await expect(chat.page.locator("#title")).to_have_text("Beacons")
        chat.check()


async def test_a_chat_that_one_tab_deletes_while_the_other_answers_stays_away_until_it_is_wanted_back(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.ask("Lighthouses")
        other = await beside(chat)
        await other.without_background()
        await other.send("[[script=long words=2000 delay=0.1]] go")
        await expect(other.button("Stop")).to_be_visible()
        await chat.chats.first.hover()
        await chat.button("Delete Lighthouses").click()
        gone = other.page.get_by_text("“Lighthouses” was deleted in another tab.")
        await expect(gone).to_be_visible(timeout=60_000)  # with the next save, which comes within seconds
        await expect(other.button("Stop")).to_be_hidden()
        await expect(other.chats).to_have_count(0)
        await expect(other.questions).to_have_count(2)  # Nobody is pulled away from what they read.
        await chat.reload()
        await expect(chat.page.locator("#no-chats")).to_be_visible()
        await other.button("Undo").click()
        await expect(chat.chats).to_have_count(1)

        await chat.chats.first.hover()
        await chat.button("Delete Lighthouses").click()
        await expect(other.chats).to_have_count(0)
        await other.ask("Ships")  # Whoever asks on wants it, and is not asked about it.
        await expect(chat.chats).to_have_count(1)
        chat.check(refusals=True)


MERGE = """async (chats) => {
    const base = document.querySelector("script[type=module]").src;
    const { mergeInto, knownOf } = await import(new URL("merging.js", base));
    const { readChat } = await import(new URL("chats.js", base));
    const [known, mine, stored] = chats.map((chat) => readChat({ id: "one", ...chat }));
    mergeInto(mine, stored, knownOf(known));
    return mine;
}"""


def question(name: str) -> dict:
    return {"id": name * 24, "role": "user", "text": name}


def answer(name: str, text: str = "", state: str = "done") -> dict:
    return {"id": name * 24, "role": "assistant", "text": text or name, "state": state}


def path(chat: dict) -> list[str]:
    return [message["text"] for message in chat["messages"]]


async def test_merging_keeps_what_is_new_and_drops_what_was_taken_back(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:

        async def merged(known: dict, mine: dict, stored: dict) -> dict:
            return await chat.page.evaluate(MERGE, [known, mine, stored])

        known = {"messages": [question("a"), answer("b")]}
        on = {"messages": [question("a"), answer("b"), question("c"), answer("d")]}
        assert path(await merged(known, known, on)) == ["a", "b", "c", "d"]
        assert path(await merged(known, on, known)) == ["a", "b", "c", "d"]
        assert path(await merged(on, on, known)) == ["a", "b"]  # taken back there
        assert path(await merged(on, known, on)) == ["a", "b"]  # taken back here

        # Both went on from the same message, one of them twice; a third tab had done so before.
        mine = {"messages": [question("a"), answer("b"), question("e"), answer("f")]}
        twice = on | {"branches": {"b" * 24: {"tails": [[question("1"), answer("2")], None], "at": 1}}}
        both = await merged(known, mine, twice)
        assert path(both) == ["a", "b", "e", "f"]
        tails = both["branches"]["b" * 24]["tails"]
        assert [tail and path({"messages": tail}) for tail in tails] == [["1", "2"], ["c", "d"], None]
        assert await merged(known, both, twice) == both

        # What one took back stays where the other has gone on from it, or it has become another since.
        gone = {"messages": [question("a"), answer("b")]}
        further = {"messages": [*on["messages"], question("e"), answer("f")]}
        assert path(await merged(on, gone, further)) == ["a", "b", "c", "d", "e", "f"]
        half = {"messages": [question("a"), answer("b", "ha", "failed")]}
        whole = {"messages": [question("a"), answer("b", "half")]}
        assert path(await merged(half, half, whole)) == ["a", "half"]
        assert path(await merged(half, whole, half)) == ["a", "half"]

        # What is no tree is left as it is: an id that comes twice, a message that follows itself.
        doubled = {"messages": [question("a"), answer("b"), question("a"), answer("c")]}
        ring = known | {"branches": {"c" * 24: {"tails": [[question("c")], None], "at": 1}}}
        for odd in (doubled, ring):
            assert path(await merged(known, on, odd)) == ["a", "b", "c", "d"]
            assert path(await merged(known, odd, on)) == path(odd)

        # The newer of two titles; one that both changed is that of who saves.
        named, other = known | {"title": "named"}, known | {"title": "other"}
        assert (await merged(known, known, named))["title"] == "named"
        assert (await merged(known, named, other))["title"] == "named"
        chat.check()


async def test_an_imported_answer_is_followed_nowhere(gateway, visit):
    """A file may name a job of anybody's: the page asks for none."""
    broken = {**answer("b", state="failed"), "job": {"id": "resp_planted", "number": 3}}
    chats = [{"id": "one", "title": "Planted", "messages": [question("a"), broken]}]
    async with visit(f"{gateway.base_url}/") as chat:
        file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": chats}).encode()
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file}
        )
        await chat.chats.first.click()
        await expect(chat.answers.last.locator(".failure")).to_be_visible()
        await chat.reload()
        await expect(chat.answers.last.locator(".failure")).to_be_visible()
        assert not [url for url in chat.addresses if "planted" in url]
        chat.check()


async def test_a_message_waits_for_the_file_that_goes_with_it(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("slow file", plan="plus")) as chat:
        await chat.page.evaluate(
            """() => {
                const read = FileReader.prototype.readAsDataURL;
                FileReader.prototype.readAsDataURL = function (file) {
                    window.goOn = () => read.call(this, file);
                };
            }"""
        )
        files = chat.page.locator("#files")
        await files.set_input_files({"name": "a.txt", "mimeType": "text/plain", "buffer": b"one"})
        await expect(chat.page.locator("#trouble")).to_have_text("Reading the file…")
        await chat.send("What is in it?")
        await expect(chat.field).to_have_value("What is in it?")
        await expect(chat.button("Send")).to_be_disabled()
        await chat.page.evaluate("goOn()")
        await expect(chat.page.locator("#attachments .name")).to_have_text("a.txt")
        await expect(chat.page.locator("#trouble")).to_be_empty()

        # What is still being read when another chat is begun does not land there.
        await files.set_input_files({"name": "b.txt", "mimeType": "text/plain", "buffer": b"two"})
        await expect(chat.page.locator("#trouble")).to_have_text("Reading the file…")
        await chat.button("New chat").click()
        await chat.page.evaluate("goOn()")
        await chat.field.fill("Hello")
        await expect(chat.button("Send")).to_be_enabled()
        await expect(chat.page.locator("#attachments li")).to_have_count(0)
        chat.check()
