"""Formats: what each part of a model is kept in and what it multiplies in, for a precision and a device."""

from __future__ import annotations

import pytest
import torch

from audiox_core.errors import InputError
from audiox_core.memory.formats import DTYPES, Format, dtype_of, name_of, network_format, public_format, wave_format
from tests.core.small import small_model

PARTS = ("video", "text", "audio", "dit", "autoencoder")


def test_names_of_types() -> None:
    assert [name_of(dtype_of(name)) for name in DTYPES] == list(DTYPES)
    with pytest.raises(InputError, match="fp16"):
        dtype_of("f16")
    with pytest.raises(InputError, match="float64"):
        name_of(torch.float64)


@pytest.mark.parametrize("precision", list(DTYPES))
@pytest.mark.parametrize("on_cpu", [True, False])
def test_every_part_has_a_format(precision: str, on_cpu: bool) -> None:
    table = {part.name: part.format(precision, on_cpu=on_cpu) for part in small_model().parts.values()}
    assert tuple(table) == PARTS
    assert table["dit"].storage == precision
    assert all(f.compute == "fp32" for f in table.values()) == (on_cpu or precision == "fp32")
    assert all(f.storage != "fp8" for name, f in table.items() if name != "dit")


@pytest.mark.parametrize(
    ("kind", "precision", "on_cpu", "storage", "compute"),
    [
        (network_format, "fp32", False, "fp32", "fp32"),
        (network_format, "fp16", False, "fp16", "fp16"),
        (network_format, "bf16", False, "bf16", "bf16"),
        (network_format, "fp8", False, "fp8", "fp16"),
        (network_format, "fp8", True, "fp8", "fp32"),
        (network_format, "bf16", True, "bf16", "fp32"),
        (wave_format, "fp32", False, "fp32", "fp32"),
        (wave_format, "fp16", False, "fp16", "fp16"),
        (wave_format, "bf16", False, "bf16", "fp32"),
        (wave_format, "fp8", False, "fp16", "fp16"),
        (wave_format, "fp8", True, "fp16", "fp32"),
        (public_format, "fp32", False, "fp32", "fp32"),
        (public_format, "fp16", False, "fp16", "fp16"),
        (public_format, "bf16", False, "fp16", "fp16"),
        (public_format, "fp8", False, "fp16", "fp16"),
        (public_format, "fp16", True, "fp32", "fp32"),
        (public_format, "fp8", True, "fp32", "fp32"),
    ],
)
def test_the_table_of_formats(kind: object, precision: str, on_cpu: bool, storage: str, compute: str) -> None:
    assert kind(precision, on_cpu=on_cpu) == Format(storage, compute)  # type: ignore[operator]


@pytest.mark.parametrize("kind", [network_format, wave_format, public_format])
@pytest.mark.parametrize("on_cpu", [True, False])
def test_unknown_precision(kind: object, on_cpu: bool) -> None:
    with pytest.raises(InputError, match=r"unknown name 'half'.*fp16"):
        kind("half", on_cpu=on_cpu)  # type: ignore[operator]


@pytest.mark.parametrize("precision", list(DTYPES))
@pytest.mark.parametrize("on_cpu", [True, False])
def test_networks_are_built_in_their_formats(precision: str, on_cpu: bool) -> None:
    for part in small_model().parts.values():
        format = part.format(precision, on_cpu=on_cpu)
        net = part.build(device="meta", **format.options())
        found = {p.dtype for p in net.parameters()}
        assert found <= {format.storage_dtype, format.compute_dtype, torch.float32}
        if part.name == "dit":
            assert (net.dtype, net.compute_dtype) == (format.storage_dtype, format.compute_dtype)
        if part.whole:  # layers of another library, kept in what they compute in
            assert not format.casts and {p.dtype for p in net.parameters()} == {format.compute_dtype}


def test_only_what_casts_brings_layers_of_its_own() -> None:
    assert Format("fp16", "fp16").options() == {"dtype": torch.float16, "compute_dtype": torch.float16}
    options = Format("fp8", "fp16").options()
    assert (options["dtype"], options["compute_dtype"]) == (torch.float8_e4m3fn, torch.float16)
    assert issubclass(options["operations"].Linear, torch.nn.Linear)
    assert (Format("fp8", "fp16").bytes, Format("bf16", "fp32").bytes, Format().bytes) == (1, 2, 4)


def test_format_says_what_it_is() -> None:
    assert str(Format("fp8", "fp16")) == "fp8, computing in fp16"
    assert str(Format("fp32", "fp32")) == "fp32"
