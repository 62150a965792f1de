"""Device and arithmetic of the forward pass: float32, or bfloat16 where the processor has it."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch

from hamcache.configs.defaults import DEVICES, PRECISIONS
from hamcache.extract.errors import DeviceError, PrecisionError


def has_bf16(device: str = "cpu") -> bool:
    """True if bfloat16 is fast here: AVX512_BF16 or AMX on a processor, compute capability 8 on a GPU."""
    if device.startswith("cuda"):
        return torch.cuda.get_device_capability()[0] >= 8
    capabilities = torch.cpu.get_capabilities()
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))


def resolve_device(device: str) -> str:
    """`auto` as `cuda` where there is a GPU, else `cpu`; the other two as they are.

    Raises:
        DeviceError: an unknown name, or `cuda` without a GPU that PyTorch can use.
    """
    if device not in DEVICES:
        raise DeviceError(f"Expected the device to be one of {', '.join(DEVICES)}, got {device!r}.")
    there = torch.cuda.is_available()
    if device == "cuda" and not there:
        raise DeviceError("Expected a GPU for device cuda, got a machine where PyTorch finds none. Use --device auto.")
    if device == "auto":
        return "cuda" if there else "cpu"
    return device


def resolve_precision(precision: str, device: str = "cpu") -> str:
    """`auto` as `bf16` where it is fast, else `fp32`; the other two as they are.

    Raises:
        PrecisionError: an unknown name, or bf16 asked for where it does not exist.
    """
    if precision not in PRECISIONS:
        raise PrecisionError(f"Expected precision to be one of {', '.join(PRECISIONS)}, got {precision!r}.")
    if precision == "bf16" and not has_bf16(device):
        raise PrecisionError(
            "Expected a processor with bfloat16 for precision bf16, got one without. Use --precision auto."
        )
    if precision == "auto":
        return "bf16" if has_bf16(device) else "fp32"
    return precision


def arithmetic(precision: str, device: str = "cpu") -> AbstractContextManager[object]:
    """Context in which convolutions and matrix products run in this precision."""
    if precision == "bf16":
        return torch.autocast(device, dtype=torch.bfloat16)
    return nullcontext()
