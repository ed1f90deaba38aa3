"""A folder of images: what each kind of file becomes, and which are refused by name and count."""

import numpy as np
import pytest
import torch
from PIL import Image
from torch.testing import assert_close

from saddle.data import folder
from saddle.data.folder import read_folder
from saddle.data.pixels import digest, from_uint8, to_uint8
from samples import pictures

COLOUR = pictures(3, 0, 0.5)  # (3, 16, 16, 3)
GREY = COLOUR[..., 0]


def levels(images: folder.Images) -> torch.Tensor:
    return to_uint8(torch.cat([*images.batches(2)]))


def test_colour_files_come_back_level_by_level_in_the_order_of_their_paths(tmp_path):
    (tmp_path / "class").mkdir()
    for name, image in zip(("class/b.png", "z.bmp", "a.tiff"), COLOUR, strict=True):
        Image.fromarray(image).save(tmp_path / name)
    found = read_folder(tmp_path)
    assert found.shape == (3, 16, 16)
    expected = torch.from_numpy(COLOUR[[2, 0, 1]]).permute(0, 3, 1, 2)  # a, class/b, z
    assert torch.equal(levels(found), expected)
    assert found.digest == digest([from_uint8(expected)])


def test_grey_files_have_one_channel_and_become_rgb_beside_colour(tmp_path):
    for index in range(2):
        Image.fromarray(GREY[index]).save(tmp_path / f"{index}.png")
    found = read_folder(tmp_path)
    assert torch.equal(levels(found), torch.from_numpy(GREY[:2])[:, None])
    assert found.digest == digest([from_uint8(torch.from_numpy(GREY[:2])[:, None])])
    Image.fromarray(COLOUR[2]).save(tmp_path / "2.png")
    found = read_folder(tmp_path)
    assert found.shape == (3, 16, 16)
    assert torch.equal(levels(found)[0], torch.from_numpy(GREY[0]).expand(3, -1, -1))
    assert torch.equal(levels(found)[2], torch.from_numpy(COLOUR[2]).permute(2, 0, 1))
    assert found.digest == digest(found.batches(7))


def test_a_folder_too_large_to_hold_is_decoded_again_to_the_same_levels(tmp_path, monkeypatch):
    for index, image in enumerate([COLOUR[0], COLOUR[1], GREY[2]]):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    held = read_folder(tmp_path)
    monkeypatch.setattr(folder, "HELD", 1000)
    again = read_folder(tmp_path)
    assert again.levels is None
    assert torch.equal(levels(again), levels(held))
    assert again.digest == held.digest


def test_16_bit_grey_is_rounded_to_8_bits(tmp_path):
    values = np.array([[0, 128, 129, 257, 65535, 65407]], dtype=np.uint16)  # v/257: 0 .498 .502 1 255 254.502
    Image.fromarray(values).save(tmp_path / "deep.png")
    with Image.open(tmp_path / "deep.png") as image:
        assert image.mode == "I;16"
    assert levels(read_folder(tmp_path))[0, 0].tolist() == [[0, 0, 1, 1, 255, 255]]


def test_16_bit_colour_keeps_its_high_byte(tmp_path):
    import struct
    import zlib

    def chunk(kind: bytes, content: bytes) -> bytes:
        checked = kind + content
        return struct.pack(">I", len(content)) + checked + struct.pack(">I", zlib.crc32(checked))

    row = b"\0" + struct.pack(">6H", 0x00FF, 0x12FF, 0xFF00, 0x8000, 0x7FFF, 0xFFFF)  # two pixels
    png = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0))
    (tmp_path / "deep.png").write_bytes(png + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b""))
    assert levels(read_folder(tmp_path))[0, :, 0].tolist() == [[0x00, 0x80], [0x12, 0x7F], [0xFF, 0xFF]]


def test_palette_one_bit_and_opaque_alpha_lose_nothing(tmp_path):
    black_and_white = np.where(GREY[0] > 127, 255, 0).astype(np.uint8)
    Image.fromarray(black_and_white).convert("1", dither=Image.Dither.NONE).save(tmp_path / "0.png")
    Image.fromarray(np.dstack([COLOUR[1], np.full((16, 16), 255, np.uint8)])).save(tmp_path / "1.png")
    few = Image.fromarray(COLOUR[2]).quantize(16)
    few.save(tmp_path / "2.png")
    found = levels(read_folder(tmp_path))
    assert torch.equal(found[0], torch.from_numpy(black_and_white).expand(3, -1, -1))
    assert torch.equal(found[1], torch.from_numpy(COLOUR[1]).permute(2, 0, 1))
    assert torch.equal(found[2], torch.from_numpy(np.array(few.convert("RGB"))).permute(2, 0, 1))


def test_a_jpeg_is_what_pillow_reads(tmp_path):
    Image.fromarray(COLOUR[0]).save(tmp_path / "0.JPG")
    with Image.open(tmp_path / "0.JPG") as image:
        expected = torch.from_numpy(np.array(image)).permute(2, 0, 1)
    assert torch.equal(levels(read_folder(tmp_path))[0], expected)


def test_files_that_cannot_be_taken_are_all_named_with_why_and_a_count(tmp_path):
    for name in ("good.png", "cut.png", "cut.jpg"):
        Image.fromarray(COLOUR[0]).save(tmp_path / name)
    for name in ("cut.png", "cut.jpg"):
        whole = (tmp_path / name).read_bytes()
        (tmp_path / name).write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    clear = np.full((16, 16), 255, np.uint8)
    clear[0, 0] = 254
    Image.fromarray(np.dstack([COLOUR[0], clear])).save(tmp_path / "glass.png")
    Image.fromarray(GREY[0].astype(np.float32)).save(tmp_path / "real.tiff")
    with pytest.raises(ValueError, match=r"every image must be readable; got 6 of 7 that are not") as refused:
        read_folder(tmp_path)
    message = str(refused.value)
    assert "empty.png (zero bytes)" in message
    assert "glass.png (transparent; flatten it onto a background)" in message
    assert "cut.png (" in message
    assert "cut.jpg (" in message
    assert "real.tiff (32-bit values" in message
    assert "and 1 more" in message
    assert message.endswith("Replace or remove them.")


def test_mixed_sizes_are_refused_with_their_counts_or_resized_as_pillow_does(tmp_path):
    for index in range(2):
        Image.fromarray(COLOUR[index]).save(tmp_path / f"{index}.png")
    large = Image.fromarray(COLOUR[2]).resize((40, 24))
    large.save(tmp_path / "odd.png")
    with pytest.raises(ValueError, match=r"2 of 16x16, 1 of 40x24 \(width x height\), such as odd.png"):
        read_folder(tmp_path)
    found = levels(read_folder(tmp_path, resize=8))
    assert found.shape == (3, 3, 8, 8)
    expected = large.resize((8, 8), Image.Resampling.BICUBIC)  # antialiased by Pillow wherever it shrinks
    assert torch.equal(found[2], torch.from_numpy(np.array(expected)).permute(2, 0, 1))


def test_other_files_are_ignored_and_counted(tmp_path):
    Image.fromarray(COLOUR[0]).save(tmp_path / "0.png")
    (tmp_path / "README.txt").write_text("about")
    (tmp_path / ".DS_Store").write_bytes(b"x")
    found = read_folder(tmp_path)
    assert (len(found.files), found.num_ignored) == (1, 2)


def test_a_folder_without_enough_images_is_refused_with_what_it_holds(tmp_path):
    (tmp_path / "notes.txt").write_text("about")
    with pytest.raises(ValueError, match=r"must hold images; .* holds 0, and 1 other files"):
        read_folder(tmp_path)
    Image.fromarray(COLOUR[0]).save(tmp_path / "0.png")
    with pytest.raises(ValueError, match=r"must hold at least 5 images; .* holds 1, and 1 other files"):
        read_folder(tmp_path, num=5)


def test_the_first_so_many_files_are_taken(tmp_path):
    for index, image in enumerate(COLOUR):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
    assert_close(levels(read_folder(tmp_path, num=2)), levels(read_folder(tmp_path))[:2], atol=0, rtol=0)
