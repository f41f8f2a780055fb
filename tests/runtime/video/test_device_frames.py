"""Frames that never leave the device: the same masks as from the host, and nothing of them copied."""

import gc

import numpy as np
import pytest

from glus_edge.runtime import InputError, Segmenter
from glus_edge.runtime.pixels.preprocess import clip_pixels, sam_pixels
from glus_edge.runtime.video.frame import Frame
from glus_edge.runtime.video.video import open_video
from tests.runtime import golden
from tests.runtime.cuda_double import CudaDouble
from tests.runtime.frame_producers import CudaArrayHolder, DlpackHolder
from tests.runtime.opened_double import Opened, with_engines

pytestmark = pytest.mark.torch  # the bundle is exported first

HOLDERS = {
    "cuda array": lambda cuda, rgb: CudaArrayHolder(cuda, rgb),
    "dlpack": lambda cuda, rgb: DlpackHolder(cuda, rgb),
    "dlpack, rows apart": lambda cuda, rgb: DlpackHolder(cuda, rgb, gap=32),
    "cuda array, not aligned": lambda cuda, rgb: CudaArrayHolder(cuda, rgb, offset=3),
}


@pytest.fixture(scope="module")
def built(golden_bundle, tmp_path_factory):
    return with_engines(golden_bundle, tmp_path_factory.mktemp("built") / "fp32")


@pytest.fixture(scope="module")
def frames():
    return [frame.rgb for frame in open_video(golden.FRAMES).frames()][:6]


def pushed(built, frames, held=None):
    opened = Opened(built, CudaDouble())
    session = opened.segmenter.stream(["a thing"])
    masks, copies = [], []
    for rgb in frames:
        source = rgb if held is None else held(opened.cuda, rgb)
        opened.cuda.copies.clear()
        masks.append(session.push(source).masks)
        copies.append(dict(vars(opened.cuda.copies)))
        if held is not None:
            source.write(np.zeros_like(rgb))  # its producer uses the memory again at once
    return np.stack(masks), copies


@pytest.fixture(scope="module")
def from_host(built, frames):
    return pushed(built, frames)


@pytest.mark.parametrize("holder", HOLDERS)
def test_a_live_stream_from_the_device_has_the_masks_of_one_from_the_host(built, frames, from_host, holder):
    masks, copies = pushed(built, frames, HOLDERS[holder])
    assert np.array_equal(masks, from_host[0])
    in_place = holder in ("cuda array", "dlpack")
    for got, host in zip(copies[1:], from_host[1][1:], strict=True):
        # both towers read the frame, which stays where it is; its copy on the device is the one for rows or alignment
        assert host["to_device_bytes"] - got["to_device_bytes"] == 2 * frames[0].nbytes
        assert got["on_device_bytes"] - host["on_device_bytes"] == (0 if in_place else 2 * frames[0].nbytes)


class DeviceVideo:
    """A video whose frames are decoded on the device."""

    def __init__(self, opened):
        self._video, self._opened, self.held = open_video(golden.FRAMES), opened, []
        self.path, self.size, self.frame_rate = self._video.path, self._video.size, self._video.frame_rate
        self.frame_count, self.stems, self.truncated = self._video.frame_count, self._video.stems, None
        self.gaps = ()

    def read(self, index):
        held = DlpackHolder(self._opened.cuda, self._video.read(index).rgb)
        self.held.append(held)
        return Frame(index, index / 10, self._opened.segmenter.picture(held))

    def frames(self, start=0, stop=None, step=1):
        return (self.read(index) for index in range(start, self.frame_count if stop is None else stop, step))


def test_a_video_in_device_memory_has_the_masks_of_the_file_and_is_given_back(built):
    opened = Opened(built)
    video = DeviceVideo(opened)
    got = [result.masks for result in opened.segmenter.segment(video, ["a thing"], key_frame=3)]
    for masks, wanted in zip(got, Opened(built).masks(["a thing"], key_frame=3), strict=True):
        assert np.array_equal(masks, wanted)
    opened.segmenter.close()
    gc.collect()
    assert [held.deleted for held in video.held] == [1] * len(video.held)


def test_nothing_is_read_of_a_frame_that_was_let_go(built, frames):
    opened = Opened(built)
    manifest, device = opened.segmenter.bundle.manifest, opened.backend.device
    pixels = opened.backend.open_pixels()
    held = CudaArrayHolder(opened.cuda, frames[0])
    frame = Frame(0, 0.0, pixels.picture(held))
    clip = device.empty((1, 3, manifest.clip.size, manifest.clip.size), "float32")
    sam = device.empty((1, 3, manifest.sam.size, manifest.sam.size), "float32")
    pixels.clip(frame, clip)
    pixels.sam(frame, sam)
    pixels.wait_until_read()
    held.write(np.zeros_like(frames[0]))
    opened.cuda.synchronise(held.stream)
    assert np.array_equal(device.read(clip)[0], clip_pixels(frames[0], manifest.clip))
    assert np.abs(device.read(sam)[0] - sam_pixels(frames[0], manifest.sam)).max() < 5e-6


def test_the_two_towers_do_not_wait_for_each_other(built, frames):
    opened = Opened(built)
    session = opened.segmenter.stream(["a thing"])
    main, image = (opened.backend.device.stream(name).handle for name in ("main", "image"))
    for rgb in frames[:3]:
        opened.cuda.log.clear()
        opened.cuda.waits.clear()
        session.push(CudaArrayHolder(opened.cuda, rgb))
    answered = next(i for i, (call, _) in enumerate(opened.cuda.log) if call == "to_host")
    encoder = [i for i, (call, on) in enumerate(opened.cuda.log) if on == image and call in ("execute", "launch")]
    assert max(encoder) < answered
    # before the answer the main stream waits for the frame's producer alone, never for the image encoder
    assert opened.cuda.waited(main, image, before=answered) == 0


def test_a_rule_that_compares_colours_on_the_host_says_so(built, frames):
    opened = Opened(built)
    session = opened.segmenter.stream(["a thing"], refresh="scene:0.35")
    with pytest.raises(InputError, match="frame 0: got a picture in CUDA memory, expected one in main memory"):
        session.push(CudaArrayHolder(opened.cuda, frames[0]))
    opened.backend.device.synchronise()


def test_onnxruntime_on_the_cpu_refuses_a_cuda_frame(built, frames):
    with (
        Segmenter.open(built) as segmenter,
        pytest.raises(InputError, match=r"got a picture in CUDA memory, expected one in main memory.*'tensorrt'"),
    ):
        segmenter.stream(["a thing"]).push(CudaArrayHolder(CudaDouble(), frames[0]))
