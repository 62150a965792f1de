import io
import os
import random
import re
import struct
import tracemalloc
import zlib
from functools import cache

import numpy as np
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.EpsImagePlugin import EpsImageFile
from PIL.ImageFile import ImageFile
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngImageFile

from hamcache.data.errors import BadImageError, UnreadImageError
from hamcache.extract.decode import SMALLEST_SIDE, decode_file, decode_image, opened_image
from tests.odd_files import other_formats


def encoded(image: Image.Image, kind: str = "PNG", **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def gradient(dtype=np.uint8, most=255) -> np.ndarray:
    return np.linspace(0, most, 40 * 30).reshape(30, 40).astype(dtype)


def test_rgb_pixels_arrive_unchanged():
    pixels = np.random.default_rng(0).integers(0, 256, (30, 40, 3), dtype=np.uint8)
    image = decode_image(encoded(Image.fromarray(pixels)))
    assert image.dtype == torch.uint8 and image.shape == (3, 30, 40)
    assert np.array_equal(image.permute(1, 2, 0).numpy(), pixels)


def test_grey_palette_and_cmyk_become_rgb():
    grey = Image.fromarray(gradient())
    for image in (grey, grey.convert("P"), grey.convert("1")):
        decoded = decode_image(encoded(image))
        assert decoded.shape == (3, 30, 40) and torch.equal(decoded[0], decoded[2])
    assert torch.equal(decode_image(encoded(grey))[1], torch.from_numpy(gradient()))
    cmyk = decode_image(encoded(grey.convert("RGB").convert("CMYK"), "JPEG", quality=95))
    assert (cmyk[0].float() - torch.from_numpy(gradient()).float()).abs().mean() < 4


def test_sixteen_bits_are_scaled_not_cut_off():
    wide = Image.fromarray(gradient(np.uint16, 65535))
    decoded = decode_image(encoded(wide))
    assert (decoded[0].float() - torch.from_numpy(gradient()).float()).abs().max() <= 1


def test_transparency_is_laid_on_white():
    image = Image.new("RGBA", (20, 20), (255, 0, 0, 0))
    assert decode_image(encoded(image)).min() == 255


def test_the_exif_orientation_is_applied():
    exif = Image.Exif()
    exif[0x0112] = 6
    assert decode_image(encoded(Image.new("RGB", (40, 30)), "JPEG", exif=exif)).shape == (3, 40, 30)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "empty file"),
        (b"this is a text", "not an image"),
        (encoded(Image.fromarray(gradient()).convert("RGB").resize((200, 150)), "JPEG")[:-700], "can't be decoded"),
        (encoded(Image.fromarray(gradient()))[:60], "can't be decoded"),
        (encoded(Image.new("RGB", (3, 40))), "only 3x40 pixels"),
    ],
)
def test_what_is_no_image_is_refused_with_its_reason(data, reason):
    with pytest.raises(BadImageError, match=reason):
        decode_image(data)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("subsampling", ["4:4:4", "4:2:2", "4:2:0"])
def test_a_jpeg_has_the_pixels_that_pillow_gives_it(subsampling, progressive, monkeypatch):
    loads = []
    monkeypatch.setattr(JpegImageFile, "load", lambda self: loads.append(self) or ImageFile.load(self))
    ramp = np.linspace(0, 255, 101 * 67).reshape(67, 101)
    colour = Image.fromarray(np.stack([ramp, ramp[::-1], ramp * 7 % 256], axis=-1).astype(np.uint8))
    for size in ((101, 67), (16, 16), (9, 33)):
        for quality in (40, 95):
            options = {"subsampling": subsampling, "progressive": progressive, "restart_marker_blocks": quality % 3}
            data = encoded(colour.resize(size), "JPEG", quality=quality, **options)
            decoded = decode_image(data)
            assert not loads  # Pillow only read the header
            assert np.array_equal(decoded.permute(1, 2, 0).numpy(), np.asarray(Image.open(io.BytesIO(data))))
            loads.clear()


def test_a_jpeg_that_is_grey_turned_or_damaged_is_pillows(monkeypatch):
    colour, exif = Image.fromarray(gradient()).convert("RGB").resize((200, 150)), Image.Exif()
    exif[0x0112] = 3
    whole = encoded(colour, "JPEG")
    damaged = whole[:-500] + bytes(400) + whole[-100:]
    with pytest.raises(ValueError):
        simplejpeg.decode_jpeg(damaged)
    odd = [encoded(colour.convert("L"), "JPEG"), encoded(colour, "JPEG", exif=exif), damaged]
    expected = [np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(data))).convert("RGB")) for data in odd]
    for data, pixels in zip(odd, expected, strict=True):
        assert np.array_equal(decode_image(data).permute(1, 2, 0).numpy(), pixels)


@pytest.mark.parametrize("name", other_formats())
def test_formats_that_no_table_holds_are_not_decoded_and_nothing_is_run(name, tmp_path, monkeypatch):
    ran = tmp_path / "ran"
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {ran}\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "x.jpg").write_bytes(other_formats()[name])
    with pytest.raises(BadImageError, match="not an image of a kind that is read here"):
        decode_file(tmp_path / "x.jpg")
    assert not ran.exists()


def test_an_opened_image_of_another_format_is_not_looked_at(tmp_path, monkeypatch):
    monkeypatch.setattr(EpsImageFile, "load", lambda *_: pytest.fail("Ghostscript would run"))
    opened = Image.open(io.BytesIO(other_formats()["EPS"]))
    with pytest.raises(BadImageError, match="of the format EPS"):
        opened_image(opened)


def test_a_photograph_with_further_pictures_in_it_is_a_photograph():
    picture = Image.fromarray(gradient()).convert("RGB")
    several = encoded(picture, "MPO", save_all=True, append_images=[Image.new("RGB", (40, 30))])
    assert Image.open(io.BytesIO(several)).format == "MPO"
    assert (decode_image(several)[0].float() - torch.from_numpy(gradient()).float()).abs().max() < 9


@pytest.mark.parametrize("kind", ["GIF", "WEBP", "TIFF", "PNG"])
def test_of_several_frames_the_first_is_taken(kind):
    frames = [Image.new("RGB", (40, 30), colour) for colour in ("white", "black", "red")]
    options = {"lossless": True} if kind == "WEBP" else {}
    several = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
    assert Image.open(io.BytesIO(several)).n_frames == 3 and decode_image(several).min() == 255


def test_a_transparent_palette_is_laid_on_white():
    image = Image.new("P", (20, 20), 0)
    image.putpalette([255, 0, 0] + [0] * 765)
    assert decode_image(encoded(image, transparency=0)).min() == 255


def test_tiffs_of_any_mode_are_decoded_or_refused():
    grey = Image.fromarray(gradient()).convert("RGB")
    for mode in ("1", "CMYK", "P", "L", "RGBA"):
        assert decode_image(encoded(grey.convert(mode), "TIFF")).shape == (3, 30, 40)
    image_or_reason(encoded(Image.new("LAB", (40, 30)), "TIFF"))


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (np.nan, "not finite"),
        (np.inf, "not finite"),
        (-np.inf, "not finite"),
        (-3.0, "pixels from -3 to 100"),
        (1e9, "pixels from 100 to 1e+09"),
    ],
)
def test_values_that_are_no_brightness_are_refused(value, reason):
    pixels = np.full((30, 40), 100, np.float32)
    pixels[3, 4] = value
    with pytest.raises(BadImageError, match=re.escape(reason)):
        decode_image(encoded(Image.fromarray(pixels), "TIFF"))


def test_float_images_are_read_as_8_or_16_bits_and_refused_where_all_would_be_black():
    for dtype, most in ((np.float32, 255), (np.float32, 65535), (np.int32, 65535)):
        decoded = decode_image(encoded(Image.fromarray(gradient(dtype, most)), "TIFF"))
        assert (decoded[0].float() - torch.from_numpy(gradient()).float()).abs().max() <= 1
    with pytest.raises(BadImageError, match="pixels from 0 to 1"):
        decode_image(encoded(Image.fromarray(gradient(np.float32, 1)), "TIFF"))


def claims(width: int, height: int) -> list[bytes]:
    """Small images whose headers say that they are of another size."""
    bmp = bytearray(encoded(Image.new("RGB", (9, 9)), "BMP"))
    bmp[18:26] = struct.pack("<ii", width, height)
    png = bytearray(encoded(Image.new("RGB", (9, 9)), "PNG"))
    png[16:24] = struct.pack(">II", width, height)
    png[29:33] = struct.pack(">I", zlib.crc32(png[12:29]))
    gif = bytearray(encoded(Image.new("P", (9, 9)), "GIF"))
    gif[6:10] = struct.pack("<HH", min(width, 65535), min(height, 65535))
    wide = encoded(Image.new("RGB", (9, 9)), "TIFF")
    found = [bytes(bmp), bytes(png), *([bytes(gif)] if width * height else [])]  # a GIF's frames make it larger
    for code, new in ((256, width), (257, height)):
        at = wide.index(struct.pack("<H", code), 8)
        wide = wide[: at + 2] + struct.pack("<HII", 4, 1, new) + wide[at + 12 :]
    return [*found, wide]


@pytest.mark.parametrize(("width", "height"), [(0, 9), (9, 0), (0, 0), (30000, 30000), (2**31 - 1, 2**31 - 1)])
def test_a_header_of_no_or_of_many_pixels_is_refused_before_memory_is_taken(width, height):
    for data in claims(width, height):
        tracemalloc.start()
        with pytest.raises(BadImageError):
            decode_image(data)
        assert tracemalloc.get_traced_memory()[1] < 2**24
        tracemalloc.stop()


@pytest.mark.parametrize(
    "error",
    [struct.error, KeyError, OverflowError, TypeError, zlib.error, RecursionError, ZeroDivisionError, Exception],
)
def test_whatever_a_plug_in_raises_is_a_reason(error, monkeypatch):
    def fail(*_):
        raise error("odd")

    data = encoded(Image.fromarray(gradient()))
    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(BadImageError, match=r"can't be decoded: .*odd") as caught:
        decode_image(data)
    assert not isinstance(caught.value, UnreadImageError)
    monkeypatch.setattr(PngImageFile, "_open", fail)
    with pytest.raises(BadImageError):
        decode_image(data)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate")])
def test_lack_of_memory_is_held_against_no_image(error, monkeypatch):
    def fail(*_):
        raise error

    monkeypatch.setattr(PngImageFile, "load", fail)
    with pytest.raises(UnreadImageError, match="not enough memory"):
        decode_image(encoded(Image.fromarray(gradient())))


@cache
def samples() -> list[bytes]:
    colour = Image.fromarray(np.random.default_rng(0).integers(0, 256, (12, 16, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    kinds = [("JPEG", {"exif": exif}), ("PNG", {"exif": exif}), ("BMP", {}), ("GIF", {}), ("WEBP", {"lossless": True})]
    kinds += [("TIFF", {"compression": name}) for name in ("raw", "tiff_lzw", "tiff_deflate", "packbits", "jpeg")]
    several = [colour, Image.new("RGB", (16, 12), "red")]
    found = [encoded(colour, kind, **options) for kind, options in kinds]
    found += [encoded(several[0], kind, save_all=True, append_images=several[1:]) for kind in ("GIF", "PNG", "TIFF")]
    found += [encoded(Image.fromarray(gradient(np.float32, 200)), "TIFF"), encoded(colour.convert("RGBA"), "TIFF")]
    return [*found, encoded(Image.fromarray(gradient(np.uint16, 65535)), "TIFF")]


def image_or_reason(data: bytes) -> None:
    try:
        image = decode_image(data)
    except BadImageError as error:
        assert str(error)
    else:
        assert image.dtype == torch.uint8 and image.shape[0] == 3 and min(image.shape[1:]) >= SMALLEST_SIDE


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("number", range(len(samples())))
def test_an_image_cut_anywhere_is_an_image_or_a_reason(number):
    data = samples()[number]
    for length in range(0, len(data), 1 + len(data) // 300):
        image_or_reason(data[:length])


@pytest.mark.filterwarnings("ignore")
@settings(max_examples=60)
@given(seed=st.integers(0, 2**64), flips=st.integers(1, 20))
def test_an_image_with_any_bytes_flipped_is_an_image_or_a_reason(seed, flips):
    generator = random.Random(seed)
    for sample in samples():
        data = bytearray(sample)
        for _ in range(flips):
            data[int(len(data) * generator.random() ** 2)] = generator.randrange(256)  # headers more often than pixels
        image_or_reason(bytes(data))
