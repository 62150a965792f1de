"""Networks of one's own: from a file, a module, a package, Python; exactly named or refused."""

import importlib.metadata
import sys
from textwrap import dedent

import pytest
import torch
from torch import nn

from hamcache.extract.backbones import BackboneSpec, describe_backbone, give_backbone, load_backbone, shared_backbone
from hamcache.extract.errors import BackboneCodeError, UnknownBackboneError, UnknownKindError
from hamcache.extract.sources import own_code

FILE = """
import torch
from torch import nn
from shades import grey

class Net(nn.Module):
    def __init__(self, stride=4):
        super().__init__()
        self.conv = nn.Conv2d(3, 5, 3, stride=stride)
        nn.init.ones_(self.conv.weight)

    def forward(self, images):
        maps = self.conv(grey(images))
        return {"pre_logits": maps, "cls": maps[:, :, 0, 0]}

def build():
    return Net(), {"size": 16, "mean": (0, 0, 0), "std": (1, 1, 1), "crop_pct": 1.0}

def plain():
    return Net(stride=2)

def drawn():
    return Drawn()

class Drawn(nn.Module):
    def forward(self, images):
        return torch.randn(len(images), 3)

def mixed():
    return Mixed()

class Mixed(nn.Module):
    def forward(self, images):
        return images.mean(dim=(2, 3)) - images.mean()

def tokens():
    return nn.Flatten(2)

def broken():
    return 1 / 0

def number():
    return 3
"""
SHADES = "def grey(images):\n    return images.mean(dim=1, keepdim=True).expand(-1, 3, -1, -1)\n"


@pytest.fixture
def nets(tmp_path):
    """A file of networks, and a file beside it that it imports."""
    (tmp_path / "nets.py").write_text(FILE)
    (tmp_path / "shades.py").write_text(SHADES)
    forget()
    yield tmp_path / "nets.py"
    forget()


def forget() -> None:
    """Import files anew, as another process does."""
    for name in [name for name in sys.modules if name in ("nets", "shades") or name.startswith("hamcache_own_")]:
        del sys.modules[name]


def test_a_function_of_a_file_returns_a_network_and_its_preprocessing(nets):
    backbone = load_backbone(BackboneSpec(f"{nets}:build", fit="squash"))
    assert backbone.forward.kinds == ("pre_logits", "cls") and backbone.dims(["pre_logits", "cls"]) == {
        "pre_logits": 5,
        "cls": 5,
    }
    images = torch.full((2, 3, 16, 16), 255, dtype=torch.uint8)
    assert torch.allclose(backbone.features(images)["pre_logits"], backbone.module.conv.bias + 27, atol=1e-4)
    assert backbone.preprocessing.size == (16, 16) and backbone.preprocessing.fit == "squash"
    with pytest.raises(UnknownKindError, match="pre_logits, cls"):
        backbone.dims(["stages"])
    assert load_backbone(BackboneSpec(f"{nets}:plain")).preprocessing.size == (224, 224)


def test_the_key_changes_with_the_code_and_with_nothing_else(nets, tmp_path):
    def code(name="build", file=nets):
        forget()
        return load_backbone(BackboneSpec(f"{file}:{name}")).code

    first = code()
    assert first == code() and first != code("plain")  # strides are in no state dict
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    for file in ("nets.py", "shades.py"):
        (elsewhere / file).write_bytes((tmp_path / file).read_bytes())
    assert code(file=elsewhere / "nets.py") == first
    (tmp_path / "shades.py").write_text(SHADES.replace("mean", "amax"))
    changed = code()
    assert changed != first
    nets.write_text(FILE.replace("maps[:, :, 0, 0]", "maps[:, :, 1, 1]"))
    assert code() not in (first, changed)
    (tmp_path / "shades.py").write_text(SHADES)
    with pytest.raises(BackboneCodeError, match="changed after it was imported"):
        load_backbone(BackboneSpec(f"{nets}:build"))


@pytest.mark.parametrize(
    ("factory", "reason"),
    [
        ("drawn", "run twice"),
        ("mixed", "other images of a batch"),
        ("tokens", r"\[n, channels, height, width\]"),
        ("broken", "ZeroDivisionError"),
        ("number", "torch.nn.Module"),
    ],
)
def test_networks_whose_features_could_not_be_kept_are_refused(nets, factory, reason):
    with pytest.raises(BackboneCodeError, match=reason):
        load_backbone(BackboneSpec(f"{nets}:{factory}"))


def test_what_is_not_there_is_named(nets):
    with pytest.raises(UnknownBackboneError, match=r"did you mean build\? There are .*build"):
        load_backbone(BackboneSpec(f"{nets}:bild"))
    with pytest.raises(UnknownBackboneError, match="Kinds of features are"):
        load_backbone(BackboneSpec("no_such_module:build"))


def test_modules_and_packages_offer_backbones(nets, monkeypatch):
    monkeypatch.syspath_prepend(nets.parent)
    named = load_backbone(BackboneSpec("nets:build"))
    point = importlib.metadata.EntryPoint("dermnet", "nets:build", own_code.GROUP)
    monkeypatch.setattr(own_code, "entry_points", lambda group: [point])
    offered = load_backbone(BackboneSpec("dermnet"))
    assert offered.code == named.code and offered.digest == named.digest
    about = describe_backbone(BackboneSpec("dermnet"))
    assert about.kinds == {"pre_logits": 5, "cls": 5} and "nets:build" in about.origin
    monkeypatch.setattr(own_code, "offered", lambda: {"resnet34": point})
    with pytest.raises(UnknownBackboneError, match="a name of its own"):
        load_backbone(BackboneSpec("resnet34"))


class Scaled(nn.Module):
    def __init__(self, scale: float = 2.0, act=torch.relu):
        super().__init__()
        self.scale, self.act = scale, act

    def forward(self, images):
        return self.act(images.mean(dim=(2, 3)) * self.scale)


def test_a_network_given_in_python_is_a_backbone_until_another_gets_its_name():
    give_backbone("mine", Scaled(), {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)})
    first = shared_backbone(BackboneSpec("mine"))
    images = torch.full((1, 3, 8, 8), 255, dtype=torch.uint8)
    assert first.features(images)["pre_logits"].tolist() == [[2.0, 2.0, 2.0]]
    give_backbone("mine", Scaled(), {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)})
    assert shared_backbone(BackboneSpec("mine")) is first
    give_backbone("mine", Scaled(3.0), {"size": 8, "mean": (0, 0, 0), "std": (1, 1, 1)})
    second = shared_backbone(BackboneSpec("mine"))
    assert second.features(images)["pre_logits"].tolist() == [[3.0, 3.0, 3.0]] and second.code != first.code


def outer(factor):
    class Local(nn.Module):
        def forward(self, images):
            return images.mean(dim=(2, 3)) * factor

    return Local()


def test_what_cannot_be_named_exactly_is_refused_and_what_is_remembered_counts():
    with pytest.raises(BackboneCodeError, match="lambda"):
        give_backbone("mine", Scaled(act=lambda x: x))
    hooked = Scaled()
    hooked.register_forward_hook(lambda *_: None)
    with pytest.raises(BackboneCodeError, match="hook"):
        give_backbone("mine", hooked)
    with pytest.raises(BackboneCodeError, match="plain data"):
        give_backbone("mine", Scaled(), lambda image: image)
    with pytest.raises(BackboneCodeError, match="'sise'"):
        give_backbone("mine", Scaled(), {"sise": 3})
    for name in ("resnet34", "a:b", "torchvision/mine"):
        with pytest.raises(UnknownBackboneError, match="name of your own"):
            give_backbone(name, Scaled())
    codes = set()
    for factor in (2, 3):
        give_backbone("mine", outer(factor))
        codes.add(load_backbone(BackboneSpec("mine")).code)
    assert len(codes) == 2


def test_a_network_of_a_notebook_is_known_by_what_it_uses(monkeypatch):
    """A cell has no file, but Python finds its source; the rest of the notebook does not count."""
    import linecache
    import types

    def run(number, cell):
        text = dedent(cell)
        linecache.cache[f"<cell {number}>"] = (len(text), None, text.splitlines(keepends=True), f"<cell {number}>")
        exec(compile(text, f"<cell {number}>", "exec"), vars(notebook))

    notebook = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", notebook)
    helper = "def half(x):\n    return x * {share}\n"
    run(1, "import torch\nfrom torch import nn\nother = 1\n" + helper.format(share="SHARE") + "SHARE = 0.5\n")
    run(2, "class Net(nn.Module):\n    def forward(self, x):\n        return half(x).mean(dim=(2, 3))\n")
    codes = []
    for change in ("", "other = 2", "SHARE = 0.25", helper.format(share=0.5)):
        run(3 + len(codes), change)
        give_backbone("mine", notebook.Net())
        codes.append(load_backbone(BackboneSpec("mine")).code)
    assert codes[0] == codes[1] and len(set(codes)) == 3
