"""Citations: markers in the answer's text, and what is shown in their place (protocol.md 5.4).

Rule: a marker never reaches a client. What takes its place is looked for in a fixed order: upstream's own Markdown
(`alt`), links to the pages it names, an entity's name, nothing. References are found by the marker's text, since it is
not known in what units their indexes count; only the citations of 2023 have nothing but an index.
"""

import re
from collections.abc import Iterator
from typing import Any

import msgspec

from shim.chatgpt.stream import Metadata
from shim.protocol.events import Citation, Link

OPEN, CLOSE, SEPARATOR = "\ue200", "\ue201", "\ue202"
_MOST_PAGES = 50  # of one search
_MARKS = re.compile("[\ue200-\ue206]")
_KEY = re.compile(r"turn(\d+)([a-z_]+)(\d+)")
_MARKDOWN_LINK = re.compile(r"\[((?:[^\[\]\\]|\\.)*)\]\((https?://[^\s()<>]+)\)")
# What would end a Markdown link too early, and how it is written instead.
_IN_TITLE = str.maketrans({"[": r"\[", "]": r"\]", "\n": " ", "\r": " "})
_IN_ADDRESS = str.maketrans({"(": "%28", ")": "%29", "<": "%3C", ">": "%3E", " ": "%20"})


def without_marks(text: str) -> str:
    """`text` without the private-use characters that markers are made of."""
    return _MARKS.sub("", text)


def pages_of(groups: Any) -> tuple[Link, ...]:
    """The pages that the groups of a search's results name, each once."""
    entries = (entry for group in _dicts(groups) for entry in _dicts(group.get("entries")))
    links = (link for entry in entries if (link := _link(entry)) is not None)
    return tuple({link.url: link for link in links}.values())[:_MOST_PAGES]


class Sources(msgspec.Struct, eq=False):
    """The sources of one message, as far as upstream has named them: raw lists from its metadata."""

    _references: Any = None
    _groups: Any = None
    _citations: Any = None

    def receive(self, metadata: Metadata) -> None:
        """The newest metadata of the message: they replace what was said before."""
        # Whole lists each time: deltas patch upstream's own object, of which this is a view.
        self._references = metadata.content_references
        self._groups = metadata.search_result_groups
        self._citations = metadata.citations

    def settled(self, marker: str) -> Citation | None:
        """What upstream itself wants shown for `marker`; None as long as that may still come. References arrive while
        their marker is still open, first hidden, and are completed by patches later."""
        reference = self._reference(marker)
        alt = reference.get("alt")
        if isinstance(alt, str) and alt:
            # A reference without pages still cites those that its Markdown links to.
            links = tuple(self._links(reference, marker)) or tuple(
                Link(without_marks(title), without_marks(_untracked(url))) for title, url in _MARKDOWN_LINK.findall(alt)
            )
            return Citation(without_marks(alt), links)
        return self.best(marker) if reference.get("status") == "done" else None

    def best(self, marker: str) -> Citation:
        """The best citation for `marker` from what is known. Its text may be empty."""
        links = tuple(self._links(self._reference(marker), marker))
        if links:
            return Citation(", ".join(map(_markdown, links)), links)
        match _fields(marker):
            case ["entity", names, *_]:  # `["software","Node.js","javascript runtime"]`: the second is its name
                try:
                    _kind, name, *_ = msgspec.json.decode(names, type=list[Any])
                except (ValueError, RecursionError):
                    name = None
                return Citation(without_marks(name) if isinstance(name, str) else "")
            case _:
                return Citation("")

    def ranged(self, start: int, end: int) -> Citation | None:
        """The old kind (2023): a page for the characters from `start` to `end` of the message."""
        for citation in _dicts(self._citations):
            if citation.get("start_ix") == start and citation.get("end_ix") == end:
                link = _link(citation.get("metadata"))
                return Citation(_markdown(link), (link,)) if link else Citation("")
        return None

    def _reference(self, marker: str) -> dict[str, Any]:
        """The reference for `marker`, empty where there is none (yet)."""
        return next((one for one in _dicts(self._references) if one.get("matched_text") == marker), {})

    def _links(self, reference: dict[str, Any], marker: str) -> Iterator[Link]:
        # Where neither is there, the marker itself names results of the search by key.
        pages = [*_dicts(reference.get("items"))] or [*_dicts(reference.get("fallback_items"))]
        seen = set[str]()  # a page that several items name is cited once
        for page in pages or self._results(marker):
            link = _link(page)
            if link is not None and link.url not in seen:
                seen.add(link.url)
                yield link

    def _results(self, marker: str) -> Iterator[dict[str, Any]]:
        """The search results that the marker's fields name by key (`turn0search3`)."""
        keys = {match.groups() for match in map(_KEY.fullmatch, _fields(marker)) if match}
        for group in _dicts(self._groups):
            for entry in _dicts(group.get("entries")):
                where = entry.get("ref_id")
                if not isinstance(where, dict):
                    continue
                # As text: the marker has digits where the metadata have numbers.
                key = tuple(str(where.get(part)) for part in ("turn_index", "ref_type", "ref_index"))
                if key in keys:
                    yield entry


def _fields(marker: str) -> list[str]:
    return marker.strip(OPEN + CLOSE).split(SEPARATOR)


def _link(page: Any) -> Link | None:
    """A page as a link, where it has an address of the web."""
    url = page.get("url") if isinstance(page, dict) else None
    # Upstream's references have other addresses, too: of files, and none at all.
    if not isinstance(url, str) or not url.startswith(("https://", "http://")):
        return None
    url = without_marks(_untracked(url)).translate(_IN_ADDRESS)
    title = page.get("title")
    return Link(without_marks(title) if isinstance(title, str) and title else url, url)


def _untracked(url: str) -> str:
    """`url` without the `utm_source` that upstream adds."""
    # By hand, for a library would write the rest of the address in its own way.
    head, hash_, fragment = url.partition("#")
    path, _, query = head.partition("?")
    kept = "&".join(field for field in query.split("&") if field and not field.startswith("utm_source="))
    return path + (f"?{kept}" if kept else "") + hash_ + fragment


def _markdown(link: Link) -> str:
    return f"[{link.title.translate(_IN_TITLE)}]({link.url})"


def _dicts(value: Any) -> Iterator[dict[str, Any]]:
    return (one for one in value if isinstance(one, dict)) if isinstance(value, list) else iter(())
