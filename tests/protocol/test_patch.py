"""Delta encoding v1, rule by rule of protocol.md 5.2, and against a plain patcher written from that section alone."""

import copy
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from shim.chatgpt.stream import decode_operation
from shim.protocol.answer.patch import Patcher, PatchError

TEXT = "/message/content/parts/0"


def root_of(text: str = "", **more: Any) -> dict[str, Any]:
    """A root as upstream adds it."""
    return {"message": {"content": {"parts": [text]}, "metadata": {}, **more}}


def fed(patcher: Patcher, *operations: dict[str, Any]) -> Any:
    """The root after these operations, as they are on the wire."""
    root = None
    for operation in operations:
        wire = decode_operation(json.dumps(operation).encode())
        assert wire is not None
        root, _ = patcher.apply(wire)
    return root


def patched(root: Any, *operations: dict[str, Any]) -> Any:
    """`root` with these operations applied."""
    return fed(Patcher(), {"p": "", "o": "add", "v": root}, *operations)


# --- 1: what is missing comes from the operation before ---------------------------------------------------------------


def test_the_very_first_operation_adds_to_the_root_of_channel_0() -> None:
    patcher = Patcher()
    assert fed(patcher, {"v": root_of("a")}) == root_of("a")
    assert fed(patcher, {"c": 0, "p": TEXT, "o": "append", "v": "b"}) == root_of("ab")


def test_bare_text_goes_where_the_last_operation_went() -> None:
    assert patched(root_of(), {"p": TEXT, "o": "append", "v": "Hel"}, {"v": "lo"}, {"v": "!"}) == root_of("Hello!")


def test_the_path_alone_is_inherited() -> None:
    assert patched(root_of("abc"), {"p": TEXT, "o": "append", "v": "d"}, {"o": "truncate", "v": 2}) == root_of("ab")


def test_the_operation_alone_is_inherited() -> None:
    root = patched(
        root_of("a", other="x"), {"p": TEXT, "o": "append", "v": "b"}, {"p": "/message/other", "v": "y"}, {"v": "z"}
    )
    assert root == root_of("ab", other="xyz")


def test_the_channel_is_inherited() -> None:
    patcher = Patcher()
    fed(patcher, {"p": "", "o": "add", "v": root_of("zero"), "c": 0}, {"v": root_of("one"), "c": 1})
    assert fed(patcher, {"p": TEXT, "o": "append", "v": "!"}) == root_of("one!")
    assert fed(patcher, {"c": 0, "v": "?"}) == root_of("zero?")


def test_bare_text_after_a_metadata_path_is_no_answer() -> None:
    root = patched(root_of("a", title=""), {"p": "/message/title", "o": "append", "v": "T"}, {"v": "itle"})
    assert root == root_of("a", title="Title")


def test_a_root_after_an_add_is_the_next_message() -> None:
    root = fed(Patcher(), {"p": "", "o": "add", "v": root_of("a"), "c": 0}, {"v": root_of("b"), "c": 3})
    assert root == root_of("b")


def test_a_list_after_a_patch_is_another_patch() -> None:
    more = [{"p": TEXT, "o": "append", "v": "b"}]
    assert patched(root_of("a"), {"p": "", "o": "patch", "v": more}, {"v": more}) == root_of("abb")


def test_a_patch_may_inherit_the_root_path_from_an_add() -> None:
    assert patched(root_of("a"), {"o": "patch", "v": [{"p": TEXT, "o": "append", "v": "b"}]}) == root_of("ab")


def test_an_add_after_a_patch_may_inherit_the_root_path() -> None:
    operations = [{"p": "", "o": "patch", "v": []}, {"o": "add", "v": root_of("b"), "c": 1}]
    assert patched(root_of("a"), *operations) == root_of("b")


def test_the_value_is_never_inherited() -> None:
    with pytest.raises(PatchError, match="without a value"):
        patched(root_of(), {"p": TEXT, "o": "append", "v": "x"}, {"p": TEXT})


def test_items_of_a_patch_inherit_nothing_and_leave_nothing_behind() -> None:
    batch = [{"p": TEXT, "o": "append", "v": "b"}, {"p": "/message/status", "o": "replace", "v": "done"}]
    root = patched(root_of("a"), {"p": "", "o": "patch", "v": batch}, {"v": batch[:1]})
    assert root == root_of("abb", status="done")
    with pytest.raises(PatchError):  # `p` of the second item is "", not the first one's
        patched(root_of("a"), {"p": "", "o": "patch", "v": [batch[0], {"o": "append", "v": "x"}]})


def test_channels_interleave() -> None:
    patcher = Patcher()
    fed(patcher, {"p": "", "o": "add", "v": root_of(), "c": 1}, {"v": root_of(), "c": 2})
    fed(patcher, {"c": 1, "p": TEXT, "o": "append", "v": "a"}, {"c": 2, "v": "b"}, {"v": "b"}, {"c": 1, "v": "a"})
    assert fed(patcher, {"c": 2, "v": ""}) == root_of("bb")
    assert fed(patcher, {"c": 1, "v": ""}) == root_of("aa")


# --- bare text before any root is noise -------------------------------------------------------------------------------


@pytest.mark.parametrize("noise", [{"v": "x"}, {"p": "", "o": "append", "v": "x"}, {"c": 4, "v": "x"}])
def test_leading_text_without_a_root_is_noise(noise: dict[str, Any]) -> None:
    patcher = Patcher()
    assert fed(patcher, noise) is None
    assert fed(patcher, {"p": "", "o": "add", "v": root_of("a")}) == root_of("a")


# --- every operation at a key, in a list, at the root -----------------------------------------------------------------

LIST = "/message/list"
EFFECTS = [
    ("add sets a key", {"p": "/message/new", "o": "add", "v": 1}, {"new": 1}),
    ("add overwrites a key", {"p": "/message/text", "o": "add", "v": 1}, {"text": 1}),
    ("add inserts into a list", {"p": LIST + "/1", "o": "add", "v": "n"}, {"list": ["a", "n", "b"]}),
    ("add inserts first", {"p": LIST + "/0", "o": "add", "v": "n"}, {"list": ["n", "a", "b"]}),
    ("add inserts last", {"p": LIST + "/2", "o": "add", "v": "n"}, {"list": ["a", "b", "n"]}),
    ("add at - is at the end", {"p": LIST + "/-", "o": "add", "v": "n"}, {"list": ["a", "b", "n"]}),
    ("replace sets a key", {"p": "/message/text", "o": "replace", "v": None}, {"text": None}),
    ("replace makes a key", {"p": "/message/new", "o": "replace", "v": {}}, {"new": {}}),
    ("replace sets an item", {"p": LIST + "/1", "o": "replace", "v": "n"}, {"list": ["a", "n"]}),
    ("append to text", {"p": "/message/text", "o": "append", "v": "!"}, {"text": "text!"}),
    ("append to text in a list", {"p": LIST + "/1", "o": "append", "v": "!"}, {"list": ["a", "b!"]}),
    ("append an item to a list", {"p": LIST, "o": "append", "v": "c"}, {"list": ["a", "b", "c"]}),
    ("append an object to a list", {"p": LIST, "o": "append", "v": {"k": 1}}, {"list": ["a", "b", {"k": 1}]}),
    ("append a list to a list", {"p": LIST, "o": "append", "v": ["c", ["d"]]}, {"list": ["a", "b", "c", ["d"]]}),
    ("append merges objects, shallowly", {"p": "/message/object", "o": "append", "v": {"b": {"y": 2}, "c": 3}},
     {"object": {"a": 1, "b": {"y": 2}, "c": 3}}),
    ("append to a missing key sets it", {"p": "/message/new", "o": "append", "v": "n"}, {"new": "n"}),
    ("append just behind a list adds", {"p": LIST + "/2", "o": "append", "v": "c"}, {"list": ["a", "b", "c"]}),
    ("append to null sets it", {"p": "/message/null", "o": "append", "v": "n"}, {"null": "n"}),
    ("truncate text", {"p": "/message/text", "o": "truncate", "v": 2}, {"text": "te"}),
    ("truncate text to nothing", {"p": "/message/text", "o": "truncate", "v": 0}, {"text": ""}),
    ("truncate beyond the end", {"p": "/message/text", "o": "truncate", "v": 99}, {"text": "text"}),
    ("truncate a list", {"p": LIST, "o": "truncate", "v": 1}, {"list": ["a"]}),
    ("truncate an item", {"p": LIST + "/0", "o": "truncate", "v": 0}, {"list": ["", "b"]}),
    ("remove an item", {"p": LIST + "/0", "o": "remove"}, {"list": ["b"]}),
    ("remove takes no notice of a value", {"p": LIST + "/0", "o": "remove", "v": 7}, {"list": ["b"]}),
    ("~1 is a slash", {"p": "/message/a~1b", "o": "append", "v": "!"}, {"a/b": "slash!"}),
    ("~0 is a tilde", {"p": "/message/a~0b", "o": "append", "v": "!"}, {"a~b": "tilde!"}),
    ("~01 is a tilde and a one", {"p": "/message/a~01b", "o": "append", "v": "!"}, {"a~1b": "both!"}),
    ("the empty key", {"p": "/message/", "o": "append", "v": "!"}, {"": "empty!"}),
    ("digits are a key of an object", {"p": "/message/object/0", "o": "add", "v": 0},
     {"object": {"a": 1, "b": {"x": 1}, "0": 0}}),
]  # fmt: skip


def rich() -> dict[str, Any]:
    return {
        "message": {
            "text": "text",
            "list": ["a", "b"],
            "object": {"a": 1, "b": {"x": 1}},
            "null": None,
            "number": 1,
            "a/b": "slash",
            "a~b": "tilde",
            "a~1b": "both",
            "": "empty",
        }
    }


@pytest.mark.parametrize(("operation", "effect"), [row[1:] for row in EFFECTS], ids=[row[0] for row in EFFECTS])
def test_effect(operation: dict[str, Any], effect: dict[str, Any]) -> None:
    expected = rich()
    expected["message"] |= effect
    assert patched(rich(), operation) == expected
    assert patched(rich(), {"p": "", "o": "patch", "v": [operation]}) == expected


def test_remove_deletes_a_key() -> None:
    expected = rich()
    del expected["message"]["text"]
    assert patched(rich(), {"p": "/message/text", "o": "remove"}) == expected


@pytest.mark.parametrize("op", ["add", "replace"])
def test_the_root_is_replaced_whole(op: str) -> None:
    assert patched(rich(), {"p": "", "o": op, "v": root_of("new")}) == root_of("new")


def test_append_to_the_root_merges() -> None:
    assert patched(root_of("a"), {"p": "", "o": "append", "v": {"error": "x"}}) == {**root_of("a"), "error": "x"}


def test_remove_takes_the_root_away() -> None:
    assert patched(root_of("a"), {"p": "", "o": "remove"}) is None


@pytest.mark.parametrize(
    ("item", "effect"),
    [
        pytest.param({"p": "/message/text", "v": "!"}, {"text": "text!"}, id="text appends"),
        pytest.param({"p": "/message/list", "v": []}, {"list": []}, id="a list is set"),
        pytest.param({"p": "/message/object", "v": {}}, {"object": {}}, id="an object is set"),
        pytest.param({"p": "/message/number", "v": 2}, {"number": 2}, id="a number is set"),
        pytest.param({"p": "/message/text", "v": None}, {"text": None}, id="null is set"),
    ],
)
def test_an_item_without_an_operation(item: dict[str, Any], effect: dict[str, Any]) -> None:
    expected = rich()
    expected["message"] |= effect
    assert patched(rich(), {"p": "", "o": "patch", "v": [item]}) == expected


# --- what can't be followed -------------------------------------------------------------------------------------------

MISFITS = {
    "unknown operation": {"p": TEXT, "o": "frobnicate", "v": "x"},
    "no such key on the way": {"p": "/message/nowhere/x", "o": "append", "v": "x"},
    "no such index on the way": {"p": "/message/list/9/x", "o": "append", "v": "x"},
    "text on the way": {"p": "/message/text/0", "o": "append", "v": "x"},
    "text on the way, deeper": {"p": "/message/text/0/x", "o": "append", "v": "x"},
    "a number on the way": {"p": "/message/number/x", "o": "add", "v": "x"},
    "null on the way": {"p": "/message/null/x", "o": "append", "v": "x"},
    "a negative index": {"p": "/message/list/-1", "o": "replace", "v": "x"},
    "a negative index to append at": {"p": "/message/list/-1", "o": "append", "v": "x"},
    "a negative index to remove": {"p": "/message/list/-1", "o": "remove"},
    "a negative index on the way": {"p": "/message/list/-1/x", "o": "append", "v": "x"},
    "a dash to replace": {"p": "/message/list/-", "o": "replace", "v": "x"},
    "digits of another script": {"p": "/message/list/\u0661", "o": "replace", "v": "x"},
    "an index that is no number": {"p": "/message/list/one", "o": "add", "v": "x"},
    "an empty index": {"p": "/message/list/", "o": "add", "v": "x"},
    "an endless index": {"p": "/message/list/" + "9" * 5000, "o": "add", "v": "x"},
    "insertion beyond the end": {"p": "/message/list/3", "o": "add", "v": "x"},
    "replacement beyond the end": {"p": "/message/list/2", "o": "replace", "v": "x"},
    "append beyond the end": {"p": "/message/list/3", "o": "append", "v": "x"},
    "removal of nothing": {"p": "/message/nowhere", "o": "remove"},
    "removal beyond the end": {"p": "/message/list/2", "o": "remove"},
    "append of an object to text": {"p": "/message/text", "o": "append", "v": {}},
    "append of text to an object": {"p": "/message/object", "o": "append", "v": "x"},
    "append to a number": {"p": "/message/number", "o": "append", "v": 1},
    "truncation of a number": {"p": "/message/number", "o": "truncate", "v": 1},
    "truncation of nothing": {"p": "/message/nowhere", "o": "truncate", "v": 1},
    "truncation to a negative length": {"p": "/message/text", "o": "truncate", "v": -1},
    "truncation to a text": {"p": "/message/text", "o": "truncate", "v": "1"},
    "truncation of the root": {"p": "", "o": "truncate", "v": 1},
    "a root of text": {"p": "", "o": "replace", "v": "x"},
    "a root of null": {"p": "", "o": "add", "v": None},
    "text appended to the root": {"p": "", "o": "append", "v": "x"},
    "a list appended to the root": {"p": "", "o": "append", "v": ["x"]},
    "no value": {"p": TEXT, "o": "append"},
    "a patch without a list": {"p": "", "o": "patch", "v": {"p": TEXT}},
    "a patch without a value": {"p": "", "o": "patch"},
    "a patch item that is text": {"p": "", "o": "patch", "v": ["x"]},
    "a patch item whose path is a number": {"p": "", "o": "patch", "v": [{"p": 5, "o": "add", "v": 1}]},
    "a patch item whose path is null": {"p": "", "o": "patch", "v": [{"p": None, "o": "add", "v": {}}]},
    "a patch item whose operation is a list": {"p": "", "o": "patch", "v": [{"p": "/x", "o": ["add"], "v": 1}]},
    "a patch item whose operation is an object": {"p": "", "o": "patch", "v": [{"p": "/x", "o": {"a": 1}, "v": 1}]},
    "a pointer that does not begin with a slash": {"p": "message/text", "o": "append", "v": "x"},
    "a pointer that is one word": {"p": "message", "o": "add", "v": "x"},
}


@pytest.mark.parametrize("operation", MISFITS.values(), ids=MISFITS)
def test_misfit(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        patched(rich(), operation)
    with pytest.raises(PatchError):
        fed(Patcher(), {"v": rich()}, {"p": "", "o": "patch", "v": [operation]})


@pytest.mark.parametrize("operation", [{"p": TEXT, "o": "append", "v": "x"}, {"p": TEXT, "o": "remove"}, {"v": [1]}])
def test_an_operation_without_a_root_is_a_misfit(operation: dict[str, Any]) -> None:
    with pytest.raises(PatchError):
        fed(Patcher(), operation)


def test_a_misfit_names_the_path_and_never_the_value() -> None:
    with pytest.raises(PatchError) as caught:
        patched(rich(), {"p": "/message/nowhere/x", "o": "append", "v": "the user's secret"})
    assert "/message/nowhere/x" in str(caught.value)
    assert "secret" not in str(caught.value)


# --- the hint that only text was appended -----------------------------------------------------------------------------


def test_the_hint_names_the_path_where_only_text_was_appended() -> None:
    patcher = Patcher()
    hints = []
    for operation in (
        {"v": root_of("a")},
        {"p": TEXT, "o": "append", "v": "b"},
        {"v": "c"},
        {"p": "", "o": "patch", "v": [{"p": TEXT, "o": "append", "v": "d"}]},
        {"p": "/message/metadata", "o": "append", "v": {}},
        {"p": TEXT, "o": "replace", "v": "e"},
        {"o": "append", "v": "f"},
    ):
        wire = decode_operation(json.dumps(operation).encode())
        assert wire is not None
        hints.append(patcher.apply(wire)[1])
    assert hints == [None, TEXT, TEXT, None, None, None, TEXT]


# --- against a patcher that is plain and slow -------------------------------------------------------------------------


class MisfitError(Exception):
    """The plain patcher's refusal."""


class PlainPatcher:
    """protocol.md 5.2 word by word: everything copied, nothing remembered but (c, p, o)."""

    def __init__(self) -> None:
        self.roots: dict[int, Any] = {}
        self.c, self.p, self.o = 0, "", "add"

    def apply(self, operation: dict[str, Any]) -> Any:
        self.c, self.p, self.o = (operation.get(name, getattr(self, name)) for name in "cpo")
        root = copy.deepcopy(self.roots.get(self.c))
        if root is None and isinstance(operation.get("v"), str) and self.p == "":
            return None
        holder = {"": root}  # the root is the only value of a holder, so that it has no special case
        self._do(holder, self.p, self.o, copy.deepcopy(operation))
        self.roots[self.c] = holder.get("")
        return self.roots[self.c]

    def _do(self, holder: dict[str, Any], path: str, op: str, operation: dict[str, Any]) -> None:
        if op == "patch":
            for item in operation["v"]:
                default = "append" if isinstance(item.get("v"), str) else "replace"
                self._do(holder, item.get("p", ""), item.get("o", default), item)
            return
        where: Any = holder
        keys = [key.replace("~1", "/").replace("~0", "~") for key in path.split("/")]
        for key in keys[:-1]:
            where = self._at(where, key)
        at_root = len(keys) == 1
        value = operation.get("v")
        if at_root and op != "remove" and not isinstance(value, dict):
            raise MisfitError
        if at_root and op == "remove":
            holder[""] = None  # a root that is not there yet is null, and one that is gone is again
            return
        self._one(where, keys[-1], op, value)

    def _at(self, where: Any, key: str) -> Any:
        if isinstance(where, dict) and key in where:
            return where[key]
        if isinstance(where, list) and key in {str(place) for place in range(len(where))}:
            return where[int(key)]
        raise MisfitError

    def _one(self, where: Any, key: str, op: str, value: Any) -> None:  # noqa: C901
        if isinstance(where, list):
            places = [str(place) for place in range(len(where))]
            end = str(len(where))
            if (op == "add" and key in {"-", end}) or (op == "append" and key == end):
                where.append(value)
                return
            if key not in places:
                raise MisfitError
            if op == "add":
                where.insert(int(key), value)
                return
        elif not isinstance(where, dict):
            raise MisfitError
        slot: Any = int(key) if isinstance(where, list) else key
        there = isinstance(where, list) or key in where
        if op in {"add", "replace"} or (op == "append" and (not there or where[slot] is None)):
            where[slot] = value
        elif op == "remove":
            if not there:
                raise MisfitError
            del where[slot]
        elif op == "truncate":
            if not there or not isinstance(where[slot], str | list):
                raise MisfitError
            where[slot] = where[slot][:value]
        elif op == "append":
            where[slot] = self._joined(where[slot], value)

    def _joined(self, old: Any, new: Any) -> Any:
        if isinstance(old, list):
            return old + (new if isinstance(new, list) else [new])
        if isinstance(old, dict) and isinstance(new, dict):
            return {**old, **new}
        if isinstance(old, str) and isinstance(new, str):
            return old + new
        raise MisfitError


PATHS = st.sampled_from(
    ["", "/m", "/m/t", "/m/t", "/m/t", "/m/l", "/m/l/0", "/m/l/0", "/m/l/1", "/m/l/-", "/m/n/0", "/m/o/a"]
)
TEXTS = st.text("ab", max_size=2)
VALUES = st.one_of(TEXTS, st.none(), st.just([]), st.lists(TEXTS, max_size=2), st.just({"a": ""}))
ROOTS = st.fixed_dictionaries(
    {"m": st.fixed_dictionaries({"t": TEXTS, "l": st.lists(TEXTS, max_size=2), "o": st.just({})})}
)


def simple(path: st.SearchStrategy[str]) -> st.SearchStrategy[dict[str, Any]]:
    """One operation at a path drawn from `path`, with the value its kind takes."""
    return st.one_of(
        st.fixed_dictionaries({"p": path, "o": st.sampled_from(["add", "replace", "append"]), "v": VALUES}),
        st.fixed_dictionaries({"p": path, "o": st.just("append"), "v": TEXTS}),
        st.fixed_dictionaries({"p": path, "o": st.just("truncate"), "v": st.integers(0, 3)}),
        st.fixed_dictionaries({"p": path, "o": st.just("remove")}),
        st.fixed_dictionaries({"p": path, "v": TEXTS}),
    )


def with_channel(operation: st.SearchStrategy[dict[str, Any]]) -> st.SearchStrategy[dict[str, Any]]:
    return st.tuples(operation, st.sampled_from([{}, {}, {}, {"c": 0}, {"c": 1}])).map(lambda pair: pair[0] | pair[1])


BARE = st.fixed_dictionaries({"v": TEXTS})
TOP = with_channel(
    st.one_of(
        BARE,
        BARE,
        simple(PATHS),
        st.fixed_dictionaries({"p": st.just(""), "o": st.just("add"), "v": ROOTS}),
        st.fixed_dictionaries({"p": st.just(""), "o": st.just("patch"), "v": st.lists(simple(PATHS), max_size=3)}),
        st.fixed_dictionaries({"o": st.just("append"), "v": TEXTS}),
    )
)


def kept(operation: dict[str, Any], plain: PlainPatcher) -> bool:
    """Operations whose inherited kind does not fit the value's type are covered above; here they would only end
    the sequence early."""
    op = operation.get("o", plain.o)
    return (op != "truncate" or isinstance(operation.get("v"), int)) and (
        op != "patch" or isinstance(operation["v"], list)
    )


def text_at(root: Any, path: str) -> Any:
    for key in path.split("/")[1:]:
        root = root[int(key)] if isinstance(root, list) and key.isdecimal() and int(key) < len(root) else (
            root.get(key, "") if isinstance(root, dict) else ""
        )  # fmt: skip
    return root


@settings(max_examples=300)
@given(ROOTS, st.lists(TOP, max_size=12))
@example({"m": {}}, [{"p": "", "o": "patch", "v": [{"p": "", "o": "remove"}, {"p": "", "o": "remove"}]}])
@example(
    {"m": {"t": "a", "l": [], "o": {}}}, [{"p": "/m/t", "o": "append", "v": "b"}, {"v": "c"}, {"p": "/m/t", "v": "d"}]
)
def test_the_same_roots_as_the_plain_patcher(root: dict[str, Any], operations: list[dict[str, Any]]) -> None:
    patcher, plain = Patcher(), PlainPatcher()
    fed(patcher, {"v": root})
    plain.apply({"v": root})
    for operation in operations:
        if not kept(operation, plain):
            continue
        before = copy.deepcopy(plain.roots.get(operation.get("c", plain.c)))
        try:
            expected = plain.apply(operation)
        except MisfitError:
            with pytest.raises(PatchError):
                fed(patcher, operation)
            return
        wire = decode_operation(json.dumps(operation).encode())
        assert wire is not None
        seen, hint = patcher.apply(wire)
        assert seen == expected
        if hint is not None:  # whoever trusts the hint must not miss anything
            assert text_at(expected, hint) == (text_at(before, hint) or "") + operation["v"]


@settings(max_examples=100)
@given(ROOTS, st.lists(TEXTS.filter(bool), min_size=1, max_size=8))
def test_bare_text_is_a_short_way_of_writing_it_out(root: dict[str, Any], texts: list[str]) -> None:
    first, *rest = [{"p": "/m/t", "o": "append", "v": text} for text in texts]
    assert patched(root, first, *({"v": operation["v"]} for operation in rest)) == patched(root, first, *rest)
