"""Pictures from other libraries: what is understood, what is refused, and that nothing is copied."""

import ctypes
import gc
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from glus_edge.runtime.device.cuda_device import CudaDevice
from glus_edge.runtime.errors import InputError
from glus_edge.runtime.video.frame import Frame, FrameSize
from glus_edge.runtime.video.picture import DevicePicture, picture_from, row_pitch
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.frame_producers import CudaArrayHolder, DlpackHolder

RGB = np.random.default_rng(0).integers(0, 256, (5, 7, 3), np.uint8)


@pytest.fixture
def device():
    device = CudaDevice(CudaDouble())
    yield device
    device.synchronise()


def read_back(picture, device):
    """What the rows hold once everything that must come first has run."""
    device.stream("foreign").synchronise()
    size = (picture.height - 1) * picture.pitch + 3 * picture.width
    flat = np.ctypeslib.as_array((ctypes.c_uint8 * size).from_address(picture.address))
    strides = (picture.pitch, 3, 1)
    return np.lib.stride_tricks.as_strided(flat, (picture.height, picture.width, 3), strides).copy()


@pytest.mark.parametrize("layout", [{}, {"gap": 11}, {"offset": 5}, {"strides": False}], ids=str)
@pytest.mark.parametrize("holder", [CudaArrayHolder, DlpackHolder])
def test_a_picture_in_cuda_memory_is_read_in_place_behind_its_producer(device, holder, layout):
    held = holder(device.cuda, RGB, **layout)
    picture = picture_from(held, device)
    assert isinstance(picture, DevicePicture)
    assert picture.address == held.address
    assert picture.dense == ("gap" not in layout)
    assert np.array_equal(read_back(picture, device), RGB)
    assert Frame(0, 0.0, picture).size == FrameSize(5, 7)


def test_dlpack_from_before_its_first_version_is_understood(device):
    held = DlpackHolder(device.cuda, RGB, versioned=False)
    assert np.array_equal(read_back(picture_from(held, device), device), RGB)


def test_dlpack_memory_is_given_back_when_the_picture_is_dropped(device):
    held = DlpackHolder(device.cuda, RGB)
    picture = picture_from(held, device)
    gc.collect()
    assert held.deleted == 0
    del picture
    assert held.deleted == 1


def test_a_capsule_is_taken_once(device):
    held = DlpackHolder(device.cuda, RGB)
    capsule = held.__dlpack__(stream=device.foreign_stream)
    held.__dlpack__ = lambda **_: capsule
    picture = picture_from(held, device)
    with pytest.raises(InputError, match="expected one that no one has taken"):
        picture_from(held, device)
    del picture
    assert held.deleted == 1


@pytest.mark.parametrize("version", [2, 1])
def test_an_interface_that_names_no_stream_waits_for_the_default_stream(device, version):
    held = CudaArrayHolder(device.cuda, RGB, {"version": version, "stream": None})
    held.stream = 1
    held.write(255 - RGB)
    assert np.array_equal(read_back(picture_from(held, device), device), 255 - RGB)


def test_an_interface_that_asks_for_no_wait_gets_none(device):
    held = CudaArrayHolder(device.cuda, RGB, {"stream": None})
    waits = device.cuda.calls("wait")
    picture_from(held, device)
    assert device.cuda.calls("wait") == waits


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"typestr": "<f4"}, r"got float32 \[5, 7, 3\], expected uint8 \[H, W, 3\]"),
        ({"typestr": "what"}, "expected version 3"),
        ({"shape": (5, 7)}, r"got uint8 \[5, 7\], expected uint8 \[H, W, 3\]"),
        ({"shape": (5, 7, 4)}, r"got uint8 \[5, 7, 4\]"),
        ({"shape": (0, 7, 3)}, r"got uint8 \[0, 7, 3\]"),
        ({"shape": None}, "without a usable 'shape'"),
        ({"data": None}, "without a usable 'data'"),
        ({"strides": (1, 5, 35)}, r"got strides \[1, 5, 35\] bytes, expected \[at least 21, 3, 1\]"),
        ({"strides": (-21, 3, 1)}, "rows from top to bottom"),
        ({"strides": (21, 3)}, r"got strides \[21, 3\] of shape"),
        ({"mask": "any"}, "got a masked array"),
        ({"stream": 0}, "got stream 0, expected None, 1, 2"),
        ({"data": (0, False)}, "null address"),
        ({"data": (64, False)}, "got address 0x40, which CUDA does not know"),
    ],
    ids=str,
)
def test_an_interface_that_cannot_be_used_is_one_line(device, changes, said):
    with pytest.raises(InputError, match=said) as caught:
        picture_from(CudaArrayHolder(device.cuda, RGB, changes), device)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"dtype": (2, 32, 1)}, r"got DLPack type \(code, bits, lanes\) \(2, 32, 1\), expected uint8"),
        ({"kind": 10}, "got DLPack device kind 10, expected 1"),
        ({"number": 1}, "got CUDA device 1, expected device 0"),
    ],
    ids=str,
)
def test_a_dlpack_tensor_that_cannot_be_used_is_one_line(device, options, said):
    with pytest.raises(InputError, match=said):
        picture_from(DlpackHolder(device.cuda, RGB, **options), device)


def test_an_export_that_fails_is_one_line_with_the_producers_reason(device):
    class Refusing(DlpackHolder):
        def __dlpack__(self, **_):
            raise BufferError("requires grad")

    with pytest.raises(InputError, match=r"got requires grad from DLPack"):
        picture_from(Refusing(device.cuda, RGB), device)


def test_memory_of_another_device_is_refused(device):
    held = CudaArrayHolder(device.cuda, RGB)
    device.cuda.devices[held.address] = 1
    with pytest.raises(InputError, match="got CUDA device 1, expected device 0"):
        picture_from(held, device)


@pytest.mark.parametrize("holder", [CudaArrayHolder, DlpackHolder])
def test_where_pixels_are_made_on_the_host_cuda_memory_is_refused(device, holder):
    held = holder(device.cuda, RGB)
    with pytest.raises(InputError, match=r"got a picture in CUDA memory, expected one in main memory.*'tensorrt'"):
        picture_from(held, None)


def test_pixels_that_someone_wants_on_the_host_are_not_downloaded(device):
    frame = Frame(3, 0.0, picture_from(CudaArrayHolder(device.cuda, RGB), device))
    with pytest.raises(InputError, match="frame 3: got a picture in CUDA memory, expected one in main memory"):
        _ = frame.rgb


class OnTheHost:
    """An array behind DLPack."""

    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return self.array.__dlpack_device__()

    def __dlpack__(self, **options):
        return self.array.__dlpack__(**options)


def test_a_dlpack_tensor_in_main_memory_is_used_where_it_is():
    picture = picture_from(OnTheHost(RGB), None)
    assert isinstance(picture, np.ndarray)
    assert np.shares_memory(picture, RGB)
    with pytest.raises(InputError, match=r"got float32 \[5, 7, 3\]"):
        picture_from(OnTheHost(RGB.astype(np.float32)), None)


def test_our_own_arrays_are_pictures_to_others_and_name_their_stream(device):
    array = device.zeros(RGB.shape, "uint8")
    interface = array.__cuda_array_interface__
    assert interface["stream"] == device.stream("main").handle
    assert picture_from(array, device).address == array.address
    assert device.empty((0, 3), "uint8").__cuda_array_interface__["data"] == (0, False)


@given(st.data())
def test_a_pitch_is_found_for_exactly_the_views_whose_rows_are_dense(data):
    base = np.arange(6 * 8 * 3, dtype=np.uint8).reshape(6, 8, 3)
    view = data.draw(st.sampled_from([base, base[..., ::-1], base.transpose(1, 0, 2), base[::-1], base[:, :, :2]]))
    slices = tuple(
        slice(data.draw(st.integers(0, n - 1)), data.draw(st.integers(1, n)), data.draw(st.sampled_from([1, 2, -1])))
        for n in view.shape[:2]
    )
    view = view[slices]
    usable = view.ndim == 3 and view.shape[2] == 3 and view.size > 0
    rows = [row.ctypes.data for row in view] if usable else []
    dense_rows = usable and all(row.flags.c_contiguous for row in view)
    downwards = all(later - first >= 3 * view.shape[1] for first, later in pairwise(rows))
    if dense_rows and downwards:
        pitch = row_pitch(view.shape, view.strides)
        assert rows == [rows[0] + pitch * row for row in range(len(rows))]
    else:
        with pytest.raises(InputError, match="expected"):
            row_pitch(view.shape, view.strides)
