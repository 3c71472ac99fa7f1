"""smolagents: an agent that calls tools, and one that writes code."""

import tempfile
from pathlib import Path

from parts import gateway, serve
from smolagents import CodeAgent, OpenAIModel, ToolCallingAgent, tool


def _work(kind, prompt):
    """Run an agent that may write files into an empty folder."""
    with tempfile.TemporaryDirectory() as name:

        @tool
        def write_file(path: str, content: str) -> str:
            """Write a file.

            Args:
                path: Its name.
                content: What is to stand in it.
            """
            Path(name, path).write_text(content)
            return "written"

        model = OpenAIModel(model_id=gateway.model, api_base=gateway.url, api_key=gateway.key)
        agent = kind(tools=[write_file], model=model, max_steps=4, verbosity_level=0)
        said = agent.run(prompt)
        files = {path.name: path.read_text() for path in Path(name).iterdir() if path.is_file()}
        return {"said": said, "files": files}


def calls(prompt):
    return _work(ToolCallingAgent, prompt)


def code(prompt):
    return _work(CodeAgent, prompt)


serve(calls, code)
