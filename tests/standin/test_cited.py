"""Markers and their references (protocol.md 5.4)."""

import re

MARKER = re.compile("\ue200[^\ue201]*\ue201|\u3010[^\u3011]*\u3011")
KINDS = {"cite", "navlist", "filecite", "entity", "i", "video", "genui", "products", "brandnew"}


async def test_every_kind_one_character_at_a_time(served, read):
    reading = read((await served.client().turn("[[script=citations_split encoding=v1]]")).content)
    message = list(reading.messages.values())[-1]
    text = message["content"]["parts"][0]
    markers = MARKER.findall(text)
    assert {marker[1:-1].partition("\ue202")[0] for marker in markers if marker[0] == "\ue200"} == KINDS
    pieces = [op["v"] for delta in reading.deltas for op in operations(delta) if isinstance(op.get("v"), str)]
    assert {len(piece) for piece in pieces if set(piece) & set("\ue200\ue201\ue202\u3010\u3011")} == {1}


async def test_references_tell_the_place_of_their_marker(served):
    message = list((await served.client().told("[[script=citations_split]]")).messages.values())[-1]
    text, metadata = message["content"]["parts"][0], message["metadata"]
    references = metadata["content_references"]
    assert [reference["type"] for reference in references] == [
        "grouped_webpages", "grouped_webpages", "nav_list", "file", "entity", "image_group", "video", "products",
    ]  # fmt: skip
    for reference in references:
        assert text[reference["start_idx"] : reference["end_idx"]] == reference["matched_text"]
    places = [text[entry["start_ix"] : entry["end_ix"]] for entry in metadata["citations"]]
    assert places == ["\u30104:0\u2020notes.txt\u3011", "\u30105\u2020example.test\u3011"]


async def test_a_page_only_in_the_groups(served):
    reading = await served.client().told("[[script=citation_groups]]")
    message = list(reading.messages.values())[-1]
    assert message["metadata"]["content_references"] == []
    (group,) = message["metadata"]["search_result_groups"]
    assert group["entries"][0]["ref_id"] == {"turn_index": 0, "ref_type": "search", "ref_index": 0}
    assert MARKER.findall(message["content"]["parts"][0]) == ["\ue200cite\ue202turn0search0\ue201"]


def operations(delta):
    return delta["v"] if isinstance(delta.get("v"), list) else [delta]
