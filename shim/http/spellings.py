"""Base URLs as people type them: without `/v1`, or with it twice where their client adds it.

Rule: only paths of the APIs that clients speak are respelled, and only in these two ways; any other path stays what it
is.
"""

import re
from functools import lru_cache

_API = re.compile(
    r"(?:/v1){0,3}(?P<rest>/(?:(?:chat/)?completions|messages|models|responses|conversations|images|audio)(?:/.*)?)",
    re.DOTALL,
)
# Below /files without /v1 are links to files of answers; of ids only those that a link can't be.
_FILES = re.compile(r"(?:/v1){1,3}(?P<rest>/files(?:/.*)?)|(?P<bare>/files(?:/file-[^/]*(?:/content)?)?)", re.DOTALL)


@lru_cache(16)  # asked for each request, nearly always about the same path
def as_meant(path: str, root_path: str) -> str:
    """The path that is meant; `path` itself where it is not one of these."""
    if not path.startswith(root_path):
        return path
    if match := _API.fullmatch(path, len(root_path)):
        return f"{root_path}/v1{match['rest']}"
    if match := _FILES.fullmatch(path, len(root_path)):
        return f"{root_path}/v1{match['rest'] or match['bare']}"
    return path
