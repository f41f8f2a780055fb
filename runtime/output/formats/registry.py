"""The formats of --format. A new one is one file beside this one and one entry."""

from glus_edge.runtime.output.formats.coco import write_coco
from glus_edge.runtime.output.formats.cvat import write_cvat
from glus_edge.runtime.output.formats.davis import write_davis
from glus_edge.runtime.output.formats.masked_video import MaskFormat
from glus_edge.runtime.output.formats.mots import write_mots
from glus_edge.runtime.output.formats.yolo import write_yolo
from glus_edge.runtime.output.formats.youtube_vis import write_youtube_vis

PNG = "png"  # masks/<sentence>/<frame>.png, which every run writes
FORMATS: dict[str, MaskFormat] = {
    "coco": write_coco,
    "youtube-vis": write_youtube_vis,
    "mots": write_mots,
    "yolo": write_yolo,
    "cvat": write_cvat,
    "davis": write_davis,
}
