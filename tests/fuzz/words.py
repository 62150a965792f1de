"""Words that nobody should type, and values that nobody should write."""

from copy import deepcopy

from hypothesis import strategies as st

HOSTILE = (
    "", " ", "-", "--", "=", "a=", "=b", "a=b", "a=b=c", ",", ",,", "+", "a+", "+a", ".", "..", "*", "[", "{", "}",
    "~",
    "0", "-1", "1e400", "-1e400", "nan", ".nan", "inf", "-.inf", "1e-400", "9" * 30, "9" * 5000, "0x" + "f" * 5000,
    "1_0",
    "²", "١", "½", "true", "null", "no", "[]", "{}", "a\0b", "\udcff", "\ud800", "é" * 300, "x" * 5000, "\n", "\t",
    "\x1b[2J",
    "a: b", "a: [", "!!python/object:os.system x", "&a [*a]", "*a", "[" * 300, "a." * 300, "..", "a..b", "%s",
    "{0}", "$HOME",
    "nowhere://x", "s3://", "http://localhost:1/x", "file:///nowhere", "tcp://127.0.0.1:1", "1;2", "\\", "'", '"',
    "\u2028",
)  # fmt: skip
"""Each broke some program."""
VALUES = (
    None, True, False, 0, -1, 1, 2, 3.5, -0.0, 1e308, 1e-308, float("inf"), float("nan"), 2**31, 2**63, -(2**63),
    10**30, "", "a",
    "none", "auto", "mlp", "simple_cnn", "/dev/zero", "/dev/null", "/", "x" * 2000, "a\0b", [], {}, [[]], [None],
    {"a": 1}, {1: 2},
    {"name": "mlp"}, {"name": 5}, {"blocks": []}, [1, "a", None], {"choice": []}, {"choice": [1]},
    {"uniform": [0, 1]}, {"int": [3, 1]},
)  # fmt: skip


def hostile() -> st.SearchStrategy[str]:
    """A word of the list, or any text; no path of it leads out of the folder in which the test runs."""
    return (st.sampled_from(HOSTILE) | st.text(max_size=30)).map(_inside)


def _inside(word: str) -> str:
    return word if word.startswith(("http:", "s3:", "file:", "tcp:", "nowhere:")) else word.replace("/", "_")


def values() -> st.SearchStrategy[object]:
    """Any value that a YAML or JSON file may hold."""
    plain = st.sampled_from(VALUES).map(deepcopy) | st.integers() | st.floats() | st.text(max_size=20)
    return st.recursive(
        plain,
        lambda deeper: st.lists(deeper, max_size=3) | st.dictionaries(st.text(max_size=5), deeper, max_size=3),
        max_leaves=6,
    )
