import io

import numpy as np
import pytest
import torch
from PIL import Image

from hamcache.extract.decode import decode_image
from hamcache.extract.errors import BadImageError


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
