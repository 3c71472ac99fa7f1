"""A chat's title by the model: asked for in the rename dialog, and nowhere else."""

from playwright.async_api import expect

from tests.web.test_access import violations


async def test_a_chat_is_named_by_the_model_when_a_person_wants_it(gateway, visit, say):
    async with visit(f"{gateway.base_url}/", viewport={"width": 390, "height": 844}) as chat:
        await chat.ask("Tell me about the lighthouse of Alexandria, " * 30)
        bodies: list[dict[str, object]] = []
        chat.page.on("request", lambda request: request.method == "POST" and bodies.append(request.post_data_json))
        await chat.button("Open the list of chats").click()
        await chat.page.get_by_role("button", name="Rename").click()
        offer = chat.button("Name it by the model")
        await expect(offer).to_be_visible()
        assert await violations(chat.page) == []
        assert bodies == []
        say('\n**Title:** "The \u202elighthouse of [Alexandria](https://a.test)".\n\nI chose it because it fits.')
        await offer.focus()
        await chat.page.keyboard.press("Enter")
        field = chat.page.get_by_label("Title", exact=True)
        await expect(field).to_have_value("The lighthouse of Alexandria")
        await expect(field).to_be_focused()
        [body] = bodies
        assert body["chatgpt"] == {"temporary": True}
        assert len(body["messages"][0]["content"]) < 3500
        await chat.page.keyboard.press("Enter")
        await expect(chat.chats).to_have_text(["The lighthouse of Alexandria"])
        await expect(chat.answers).to_have_count(1)
        chat.check()


async def test_why_there_is_no_title_is_told_and_the_old_one_stays(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("nameless")) as chat:
        await chat.ask("Ships")
        refused = {"error": {"message": "Wait.", "type": "rate_limit_error", "code": "rate_limit_exceeded"}}

        async def refuse(route):
            await route.fulfill(status=429, json=refused)

        async def empty(route):
            await route.fulfill(json={"choices": [{"message": {"role": "assistant", "content": ' "**" '}}]})

        await chat.chats.first.hover()
        await chat.button("Rename Ships").click()
        for answer, told in ((refuse, "A limit is reached. Wait."), (empty, "The model gave no name.")):
            await chat.page.route("**/v1/chat/completions", answer)
            await chat.button("Name it by the model").click()
            await expect(chat.page.locator("#ask-why")).to_have_text(told)
            await chat.page.unroute("**/v1/chat/completions")
        await expect(chat.page.get_by_label("Title", exact=True)).to_have_value("Ships")
        await chat.page.keyboard.press("Escape")
        await expect(chat.chats).to_have_text(["Ships"])
        await chat.button("System prompt").click()
        await expect(chat.button("Name it by the model")).to_be_hidden()
        chat.check(refusals=True)
