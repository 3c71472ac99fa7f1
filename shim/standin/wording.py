"""The words of the stand-in: what it answers, and how a text falls into the pieces a model would say.

Rule: every answer says that it is the demo; nothing here pretends to be a model.
"""

import itertools
import re
from collections.abc import Iterator
from random import Random

QUOTED_CHARACTERS = 300

DEMO = """Hello! This is the chat2api demo upstream: a stand-in for the ChatGPT web backend that runs next to the \
gateway, so no account was used and nothing left this machine.

You asked: “{question}”

I am not a language model, so this is a prepared reply. It took the same road a real answer takes, through the \
sentinel, the proof of work and the event stream. With your own account in place of the demo, the model {slug} \
would answer here."""

# The same where plain words are heard.
WELCOME = """Hello! This is the chat2api demo upstream: a stand-in for the ChatGPT web backend that runs next to the \
gateway. No account of yours is used, and nothing leaves this machine.

You asked: “{question}”

I am not a language model, so this is a prepared reply. It took the same road a real answer takes, through the \
sentinel, the proof of work and the event stream. With your own account in place of the demo, the model {slug} \
would answer here.

Ask me for **code**, a **table**, a **picture**, a **file**, to **compute** something, to **think**, for a **long** \
text, or for a **limit**, and you will see how each of them arrives."""

PREPARED = "I am the chat2api demo upstream and no language model, so this is a prepared answer."

PRIMES_SOURCE = """def primes(below: int) -> list[int]:
    \"\"\"The prime numbers smaller than `below`.\"\"\"
    found: list[int] = []
    for number in range(2, below):
        if all(number % prime for prime in found if prime * prime <= number):
            found.append(number)
    return found


print(primes(30))
"""
PRIMES_OUTPUT = "[2, 3, 5, 7, 11, 13, 17, 19, 23, 29]"
PRIMES_ANSWER = f"""{PREPARED}

```python
{PRIMES_SOURCE}```

It prints `{PRIMES_OUTPUT}`. A number is prime if no smaller prime $p$ with $p^2 \\le n$ divides it."""

TABLE_ANSWER = f"""{PREPARED}

| status | what it means here | what to do |
|---|---|---|
| 401 | no key, a wrong one, or a token that has expired | send a key, or a new token |
| 403 | the web backend refused | use an account, or another network |
| 429 | a limit of the account is reached | wait for `Retry-After` seconds |

The gateway passes on Markdown as it comes: your program gets the text of this table, and the page shows it as one."""

WORKED_OUT_SOURCE = "squares = [n * n for n in range(1, 11)]\nprint(*squares)\nprint('sum:', sum(squares))\n"
WORKED_OUT_OUTPUT = "1 4 9 16 25 36 49 64 81 100\nsum: 385\n"
WORKED_OUT_ANSWER = f"""{PREPARED} Above are a call of ChatGPT's own Python tool and what it printed, as they come \
with a real answer: the first ten squares add up to **385**."""

PAINTED_TITLE = "Mountains at sunset"
PAINTED_ANSWER = f"""{PREPARED} The picture is a real file all the same: it was made for this answer, and you get it \
through a signed link of the gateway."""

RESULT_ANSWER = f"""{PREPARED} Your function was called, and this is what it gave back:

```
{{result}}
```"""

RECEIVED_ANSWER = f"""{PREPARED} Your files went all the way up, byte by byte, and this is what has arrived:

{{files}}

A model would look into them now."""

# Sentences for answers of any length; the words are about what the reader is testing.
SENTENCES = (
    "This is the chat2api demo upstream, and it goes on for as long as you asked it to.",
    "Each sentence travels as a handful of small events, just as a model would send them.",
    "The gateway joins them again and hands them to your program in the shape it expects.",
    "Some events are padded, some are comments, and some are about other things entirely.",
    "If every word arrives once and in order, the stream was read correctly.",
    "A slow reader makes the writer wait, and a reader that leaves stops it at once.",
    "None of this text was written by a model, so please do not look for a deeper meaning.",
    "Numbers such as 3.14, 1,000 and 42 % are here to keep the splitting honest.",
)

# Scripts, joiners, marks, directions and separators that break careless readers; and every JSON escape.
UNICODE = (
    "The chat2api demo upstream says hello in many ways.\n"
    "CJK: 你好，世界。日本語のテスト、한국어도 됩니다. Rare: \U00020bb7\U0002a6d6\n"
    "Emoji: 👋🏽 👩‍👩‍👧‍👦 🏳️‍🌈 🇩🇪 ❤️‍🔥 1️⃣\n"
    "Combining: e\u0301 n\u0303 Z\u0351\u036b\u0343 \u0928\u093f \u1112\u1161\u11ab\n"
    "Right to left: שלום עולם, مرحبا بالعالم \u200f(\u202bRTL\u202c)\n"
    "Separators: line\u2028paragraph\u2029next\u0085end,"
    " no-break\u00a0space, zero\u200bwidth, tab\there, form\x0cfeed\n"
    "Quotes and slashes: \"double\" 'single' \\back\\slash\\ /forward/ \\n is not a newline, \\u0041 is not A\n"
    "Controls: [\x01][\x1f][\x7f]; angle <b>&amp;</b>; dollar ${x}; data: [DONE] event: delta\n"
    'Braces: {"v": "not a delta"} ]]> -->\r\nCarriage return above, blank line below.\n\n'
    "The end \N{WAVING WHITE FLAG}."
)

CODE_SOURCE = (
    "import math\n\nvalues = [math.sqrt(n) for n in range(1, 4)]\nprint('\\t'.join(f'{v:.3f}' for v in values))\n"
)
CODE_OUTPUT = "1.000\t1.414\t1.732\n"
CODE_ANSWER = """I am the chat2api demo upstream, and I pretended to run this:

```python
{source}```

It printed `{output}`. The fence above must survive as it is, backticks included."""

# The worst case for a reader that shows code in a fence: the source and what it prints hold that fence.
FENCE_SOURCE = 'print("```python")\nprint("nested = ``")\nprint("```")\n'
FENCE_OUTPUT = "```python\nnested = ``\n```\n"
FENCE_ANSWER = "I am the chat2api demo upstream. What ran above holds three backticks, and so does its output."
OPEN_ANSWER = "I am the chat2api demo upstream, and nothing was printed by the code above."

ERROR_SOURCE = "values = []\nvalues[0]\n"
ERROR_NAME = "IndexError"
ERROR_OUTPUT = """---------------------------------------------------------------------------
IndexError                                Traceback (most recent call last)
----> 2 values[0]
IndexError: list index out of range
"""
TOOL_ERROR = "Encountered exception: <class 'GetDownloadLinkError'>."
ERROR_ANSWER = "I am the chat2api demo upstream. One call raised, one failed in the tool."

TABLE_NAME = "table.csv"
SANDBOX_PATH = f"/mnt/data/{TABLE_NAME}"
TABLE = "n,square\n1,1\n2,4\n3,9\n"
SANDBOX_SOURCE = f"with open({SANDBOX_PATH!r}, 'w') as table:\n    table.write({TABLE!r})\nprint('written')\n"
SANDBOX_OUTPUT = "written\n"
SANDBOX_ANSWER = f"""The chat2api demo upstream has made a table for you: [{TABLE_NAME}](sandbox:{SANDBOX_PATH})

It has three rows."""

CANVAS_NAME = "Notes about the demo"
CANVAS_TEXT = '# Notes\n\nThis document was made by the chat2api demo upstream.\n\n- It has a "quoted" word.\n'
CANVAS_ANSWER = "I am the chat2api demo upstream, and I put the notes beside this answer."
UNKNOWN_TOOL_ANSWER = "I am the chat2api demo upstream, and I asked a tool you do not know."
ACTION_ANSWER = "I am the chat2api demo upstream, and the action says: dry, 14 degrees."

TITLE = "A plain field"
CARD = "Processing image. The chat2api demo upstream will show it in the conversation."
PICTURE_ANSWER = "Here is a small picture from the chat2api demo upstream. Would you like another colour?"
PICTURE_INSTRUCTIONS = "HIDDEN: you are responding right after a picture. Write one short sentence about it."
PICTURE_ERROR = "Error: the picture could not be made."
PICTURE_FAILED = "I am the chat2api demo upstream, and making the picture failed."
PICTURE_REFUSED = "I am the chat2api demo upstream, and I can't make this: it may violate our content policies."

TITLE = "A chat with the demo"
TRANSCRIPT = "The chat2api demo upstream received {name}, {size} bytes, language {language}."

THOUGHTS = (
    ("Reading the question", "The demo has been asked something. It has no model, so a prepared answer is honest. "),
    ("Choosing the words", "It should say what it is, repeat the question and stay short."),
)

PIECE = re.compile(r"\s*[!-~]+\s?|\s+|[^\s!-~]{1,3}")


def demo_answer(question: str, slug: str, told: str = DEMO) -> str:
    """The friendly paragraph that repeats the question, shortened when it is long."""
    quoted = " ".join(question.split()) or "(nothing)"
    if len(quoted) > QUOTED_CHARACTERS:
        quoted = quoted[:QUOTED_CHARACTERS] + "…"
    return told.format(question=quoted, slug=slug)


def long_answer(words: int) -> str:
    """A text of exactly that many words, in paragraphs of four sentences."""
    sentences = itertools.cycle(SENTENCES)
    chosen: list[str] = []
    counted = 0
    while counted < words:
        sentence = next(sentences)
        chosen.append(sentence)
        counted += len(sentence.split())
    extra = counted - words
    if extra:
        chosen[-1] = " ".join(chosen[-1].split()[:-extra])
    paragraphs = (" ".join(chosen[start : start + 4]) for start in range(0, len(chosen), 4))
    return "\n\n".join(paragraphs)


def pieces(text: str, rng: Random) -> Iterator[str]:
    """The text in pieces of one to three tokens; splits words of scripts without spaces, and emoji sequences too."""
    tokens = (found[0] for found in PIECE.finditer(text))
    while piece := "".join(itertools.islice(tokens, rng.randint(1, 3))):
        yield piece
