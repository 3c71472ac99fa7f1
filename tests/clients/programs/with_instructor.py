"""instructor, in each of its ways to ask for a structure."""

import instructor
from openai import OpenAI
from parts import gateway, serve
from pydantic import BaseModel


class Person(BaseModel):
    """Somebody."""

    name: str
    age: int


def _create(mode, prompt):
    client = instructor.from_openai(OpenAI(base_url=gateway.url, api_key=gateway.key, max_retries=0), mode=mode)
    message = {"role": "user", "content": prompt}
    found = client.chat.completions.create(
        model=gateway.model, response_model=Person, messages=[message], max_retries=1
    )
    return found.model_dump()


def structured(prompt):
    return _create(instructor.Mode.JSON_SCHEMA, prompt)


def structured_by_mode(prompt):
    return _create(instructor.Mode.JSON, prompt)


def structured_by_call(prompt):
    return _create(instructor.Mode.TOOLS, prompt)


serve(structured, structured_by_mode, structured_by_call)
