import json
from io import BytesIO
from typing import Any
from zipfile import ZipFile

import numpy as np
import pytest
import skops.io

from hamcache.heads.skops_format import skops_bytes
from hamcache.heads.zoo import HEADS
from tests.heads.test_zoo import small

TREES = {"random_forest", "extra_trees", "hist_gbdt"}
"""Heads that skops itself must write."""


def schema_of(content: bytes) -> Any:
    """The schema of an archive without the numbers of its nodes, with the arrays in their place."""
    with ZipFile(BytesIO(content)) as archive:

        def resolved(node: dict[str, Any]) -> dict[str, Any]:
            node.pop("__id__", None)
            return node | {"file": archive.read(node["file"])} if "file" in node else node

        return json.loads(archive.read("schema.json"), object_hook=resolved)


@pytest.mark.parametrize("name", sorted(HEADS))
def test_a_head_is_written_as_skops_writes_it(name, blocks, features):
    head = small(name, blocks).fit(*features(n=120, views=1))
    content = skops_bytes(head)
    assert (content is None) == (name in TREES)
    if content is not None:
        assert schema_of(content) == schema_of(skops.io.dumps(head))


def test_what_skops_would_write_otherwise_is_left_to_it():
    assert skops_bytes({"a": {1, 2}}) is skops_bytes(np.array([{}])) is skops_bytes({np.int64(1): 2}) is None
