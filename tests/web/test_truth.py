"""The page says what is so: how an answer ended, who gave it, and what can't be had without an account."""

import json
import re

from playwright.async_api import expect

from tests.web.test_tour import FINISH, delta, stream


def ended(reason: str) -> dict[str, object]:
    return {"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}


async def test_a_cut_answer_says_so_and_goes_on_in_its_place(gateway, visit):
    asked: list[dict[str, object]] = []

    async def answer(route):
        asked.append(route.request.post_data_json)
        said = [delta(content="One, two"), ended("length")] if len(asked) == 1 else [delta(content=", three."), FINISH]
        await route.fulfill(status=200, content_type="text/event-stream", body=stream(*said, "[DONE]"))

    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        await chat.page.route("**/v1/chat/completions", answer)
        cut = await chat.ask("Count")
        await expect(cut.locator(".note")).to_contain_text("The answer was cut")
        await chat.reload()
        await expect(chat.answers.last.locator(".note")).to_contain_text("The answer was cut")
        await chat.answers.last.get_by_role("button", name="Continue").click()
        await expect(chat.answers.last.locator(".prose").last).to_have_text("One, two, three.")
        await expect(chat.answers).to_have_count(1)
        await expect(chat.answers.last.locator(".note")).to_have_count(0)
        assert [one["role"] for one in asked[1]["messages"]] == ["user", "assistant", "user"]
        assert asked[1]["messages"][1]["content"] == "One, two"
        chat.check(refusals=True)


async def test_a_blocked_answer_says_so(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        answer = await chat.ask("[[script=moderation_blocked]]")
        await expect(answer.locator(".note")).to_contain_text("safety check ended this answer")
        await expect(answer.get_by_role("button", name="Continue")).to_have_count(0)
        chat.check()


async def test_who_answered_is_told_beneath_and_kept(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("thinker", plan="plus")) as chat:
        answer = await chat.ask("Hello")
        facts = await answer.locator(".by").inner_text()
        assert facts.startswith("gpt-")
        assert " sec · " in facts
        assert facts.endswith(" tokens")
        await chat.reload()
        await expect(chat.answers.last.locator(".by")).to_have_text(facts)
        chat.check()


async def test_what_had_arrived_is_there_after_a_reload_in_mid_answer(gateway, visit):
    """Also what came less than three seconds before, which is how often it is saved otherwise."""
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.without_background()
        await chat.send("Go on [[script=long words=2000 delay=0.02]]")
        prose = chat.answers.last.locator(".prose").last
        await expect(prose).to_contain_text("This is the chat2api demo upstream")
        had = await prose.inner_text()
        await chat.reload()
        await expect(chat.answers.last.locator(".failure")).to_contain_text("The answer was not finished")
        await expect(prose).to_contain_text(had[: len(had) // 2])  # once it is drawn, which may be after the notice
        await expect(chat.answers.last.get_by_role("button", name="Continue")).to_be_visible()
        chat.check(refusals=True)


async def test_an_answer_goes_on_after_a_reload_and_nothing_is_left_at_the_gateway(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("Go on [[script=long words=160 delay=0.02]]")
        await expect(chat.answers.last.locator(".prose").last).to_contain_text("This is the chat2api demo")
        async with chat.page.expect_request(lambda request: "starting_after=" in request.url):
            await chat.page.reload()
        async with chat.page.expect_response(lambda response: response.request.method == "DELETE") as gone:
            await expect(chat.answers.last).to_have_attribute("aria-busy", "false", timeout=30_000)
        assert (await gone.value).status == 200
        await expect(chat.answers.last.locator(".failure")).to_have_count(0)
        await expect(chat.answers.last.locator(".by")).to_contain_text("tokens")
        await chat.ask("Go on [[script=long words=160]]")
        # What has arrived may still have to be drawn.
        await chat.page.wait_for_function(
            """() => {
                const [one, other] = [...document.querySelectorAll("article.answer")].map((answer) => {
                    return [...answer.querySelectorAll(".prose")].at(-1).innerText.split(/\\s+/).length;
                });
                return one === other && one > 150;
            }"""
        )
        kept = await chat.page.request.get((await gone.value).url)
        assert kept.status == 404
        chat.check()


async def test_a_broken_connection_is_made_again(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.page.evaluate(
            """() => {
                const real = window.fetch;
                window.fetch = async (address, options) => {
                    const answer = await real(address, options);
                    if (String(address) !== "v1/responses") return answer;
                    const reader = answer.body.getReader();
                    let reads = 0;
                    const body = new ReadableStream({
                        async pull(controller) {
                            const { value } = await reader.read();
                            if (reads++ < 4) return controller.enqueue(value);
                            reader.cancel();
                            return controller.error(new TypeError("network error"));
                        },
                    });
                    return new Response(body, { headers: answer.headers });
                };
            }"""
        )
        answer = await chat.ask("Go on [[script=long words=60 delay=0.01]]")
        words = (await answer.locator(".prose").last.inner_text()).split()
        whole = await chat.ask("Go on [[script=long words=60]]")
        assert len(words) == len((await whole.locator(".prose").last.inner_text()).split())
        chat.check()


async def test_stopping_ends_it_at_the_gateway_too(gateway, visit):
    async with visit(f"{gateway.base_url}/") as chat:
        await chat.send("Go on [[script=long words=2000 delay=0.05]]")
        await expect(chat.answers.last).to_contain_text("This is the chat2api demo")
        async with chat.page.expect_response("**/cancel") as cancelled:
            await chat.button("Stop").click()
        assert (await (await cancelled.value).json())["status"] == "cancelled"
        await expect(chat.answers.last.locator(".note")).to_contain_text("You stopped this answer.")
        chat.check()


async def test_without_an_account_files_are_not_offered_but_a_key_is(gateway, visit, make_account):
    token = make_account("newcomer")
    async with visit(f"{gateway.base_url}/") as chat:
        await expect(chat.button("Attach pictures or files")).not_to_be_visible()
        await chat.button("Enter a key for files and pictures").click()
        await chat.page.get_by_role("dialog").get_by_label("API key").fill(token)
        await chat.page.keyboard.press("Enter")
        await expect(chat.button("Attach pictures or files")).to_be_visible()
        await expect(chat.button("Enter a key for files and pictures")).not_to_be_visible()
        chat.check()


async def test_a_title_has_no_marks_and_a_chat_begins_with_one_tap(gateway, visit):
    async with visit(f"{gateway.base_url}/", viewport={"width": 390, "height": 844}) as chat:
        await chat.ask("## Compare **cats** and `dogs`\n- see [this](https://example.test/)")
        await expect(chat.page.get_by_role("heading", level=1)).to_have_text("Compare cats and dogs see this")
        await chat.button("Begin a new chat").click()
        await expect(chat.answers).to_have_count(0)
        chat.check()


async def test_a_chat_of_before_is_read(gateway, visit):
    """Chats that were stored before facts were kept have none, and what makes no sense is no fact."""
    old = {"role": "assistant", "text": "Old", "model": "gpt-4o", "state": "done"}
    odd = old | {"finish": "exploded", "by": 5, "tokens": "many", "took": None, "thought": {}}
    chats = [{"id": "one", "messages": [{"role": "user", "text": "Hi"}, old, odd]}]
    async with visit(f"{gateway.base_url}/") as chat:
        file = json.dumps({"format": "chat2api.chats", "version": 1, "chats": chats}).encode()
        await chat.page.locator("#import-file").set_input_files(
            {"name": "chats.json", "mimeType": "application/json", "buffer": file}
        )
        await chat.chats.first.click()
        await expect(chat.answers.locator(".by")).to_have_text(["gpt-4o", "gpt-4o"])
        await expect(chat.answers.locator(".note")).to_have_count(0)
        chat.check()


async def test_a_limit_in_the_background_is_told_once_and_counted_down(gateway, visit, make_account):
    async with visit(f"{gateway.base_url}/", key=make_account("limited")) as chat:
        for question in ("[[failure=model_cap clears_in=90]]", "Once more"):
            await chat.send(question)
            failure = chat.answers.last.locator(".failure")
            await expect(failure.get_by_role("button", name="Try again in")).to_be_disabled()
            await expect(chat.answers.last.locator(".by")).to_have_text("")
        told = r"The gateway says: This account has to wait until its limit is over \(model_cap_exceeded, until 20.*"
        await expect(failure.locator(".words")).to_have_text(re.compile(told))
        chat.check(refusals=True)
