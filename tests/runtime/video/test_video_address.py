from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.errors import InputError, VideoError
from glus_edge.runtime.video.video_address import SCHEMES, file_address, video_address


@pytest.mark.parametrize(
    ("text", "device"),
    [
        ("0", "/dev/video0"),
        ("12", "/dev/video12"),
        ("/dev/video3", "/dev/video3"),
        ("/dev/v4l/by-id/usb-a-index0", "/dev/v4l/by-id/usb-a-index0"),
    ],
)
def test_a_number_or_device_is_a_camera(text: str, device: str) -> None:
    address = video_address(text)
    assert (address.url, address.container, address.live) == (device, "v4l2", True)


@pytest.mark.parametrize("scheme", SCHEMES)
def test_an_address_on_the_network_is_live_and_not_waited_for_for_ever(scheme: str) -> None:
    address = video_address(f"{scheme.upper()}://host:554/a?b=c")
    assert address.live
    assert address.patience_s is not None
    assert address.url == f"{scheme.upper()}://host:554/a?b=c"
    assert "file" not in address.options["protocol_whitelist"].split(",")


def test_messages_never_hold_a_password_or_a_key() -> None:
    assert video_address("rtsp://me:secret@camera/door?key=secret").name == "rtsp://camera/door"
    with pytest.raises(InputError) as error:
        video_address("ftp://me:secret@host/a.mp4")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    "text", ["file:///etc/passwd", "concat://a|b", "data://text", "rtsp://", "http:///x", "http://[::1/x"]
)
def test_other_addresses_are_refused_in_one_line(text: str) -> None:
    with pytest.raises(InputError, match=r"source: got .*, expected ") as error:
        video_address(text)
    assert "\n" not in str(error.value)


@given(st.text(st.characters(exclude_characters="\0/", exclude_categories=["Cs"]), max_size=40))
def test_any_text_is_an_address_or_one_line(text: str) -> None:
    try:
        url = video_address(text).url
    except (InputError, VideoError) as error:
        url = str(error)
    assert url
    assert "\n" not in url or "\n" in text


def test_a_folder_is_named_as_what_segment_reads(tmp_path: Path) -> None:
    with pytest.raises(VideoError, match="got a folder, .*`glus-edge segment` reads folders"):
        video_address(str(tmp_path))
    with pytest.raises(VideoError, match="no such file"):
        video_address(str(tmp_path / "missing.mp4"))
    with pytest.raises(VideoError, match="cannot be read .*long.*, expected a camera"):
        video_address("the sentence in place of the source, and at length " * 10)


def test_a_file_whose_name_looks_like_a_protocol_is_a_file(tmp_path: Path) -> None:
    path = tmp_path / "concat:a.mp4"
    path.write_bytes(b"")
    address = video_address(str(path))
    assert address == file_address(path)
    assert not address.live
