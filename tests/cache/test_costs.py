from pathlib import Path

from hamcache.cache.costs import Cost, add_costs, read_costs
from hamcache.cache.storage import Root


def test_costs_add_up_by_store_and_a_damaged_account_is_an_empty_one(tmp_path: Path) -> None:
    root = Root(tmp_path)
    assert read_costs(root, "moles") == {}
    add_costs(root, "moles", {"a": Cost(10, 1.0), "empty": Cost(0, 0.0)})
    add_costs(root, "moles", {"a": Cost(30, 3.0), "b": Cost(1, 0.5)})
    costs = read_costs(root, "moles")
    assert costs == {"a": Cost(40, 4.0), "b": Cost(1, 0.5)} and costs["a"].each == 0.1
    for content in ("{", "[1]", '{"a": {"vectors": "x", "seconds": 1}}', '{"a": 3}'):
        (tmp_path / "moles" / "costs.json").write_text(content)
        assert read_costs(root, "moles") == {}
    add_costs(root, "moles", {"b": Cost(1, 0.5)})
    assert read_costs(root, "moles") == {"b": Cost(1, 0.5)}
