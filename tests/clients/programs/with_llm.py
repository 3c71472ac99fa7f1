"""The `llm` command line, with the model described in extra-openai-models.yaml as its documentation says."""

import base64
import json
import os
import subprocess
from pathlib import Path

from parts import gateway, serve

DESCRIBED = f"""
- model_id: gateway
  model_name: {gateway.model}
  api_base: {gateway.url}
  api_key_name: gateway
  vision: true
  supports_schema: true
  supports_tools: true
  can_stream: true
"""
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string"}, "age": {"type": "integer"}},
    "required": ["name", "age"],
}
WEATHER = '''
def get_weather(city: str) -> str:
    """The weather in a city."""
    return f"20 degrees in {city}"
'''


def llm(*arguments):
    """What the command prints. Its log, where the calls are noted, is in the same folder."""
    folder = Path.cwd() / "llm"
    folder.mkdir(exist_ok=True)
    (folder / "extra-openai-models.yaml").write_text(DESCRIBED)
    command = ["llm", *arguments, "--model", "gateway", "--key", gateway.key]
    environment = os.environ | {"LLM_USER_PATH": str(folder)}
    done = subprocess.run(
        command, env=environment, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise ChildProcessError(done.stderr)
    return done.stdout.removesuffix("\n")


def chat(prompt):
    return {"text": llm(prompt, "--no-stream")}


def stream(prompt):
    return {"pieces": [llm(prompt)]}


def structured(prompt):
    return json.loads(llm(prompt, "--schema", json.dumps(PERSON), "--no-stream"))


def image(prompt, picture):
    file = Path.cwd() / "picture.png"
    file.write_bytes(base64.b64decode(picture.partition(",")[2]))
    return {"text": llm(prompt, "--attachment", str(file))}


def tools(prompt):
    return {"text": llm(prompt, "--functions", WEATHER, "--no-stream")}


serve(chat, stream, structured, image, tools)
