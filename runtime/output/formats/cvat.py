"""CVAT for images 1.1: annotations.xml with a mask for each sentence of a frame.

A mask's code counts runs along the rows of its box, the first one outside.
"""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

import cv2
import numpy as np

from glus_edge.runtime.output.formats.masked_video import MaskedVideo
from glus_edge.runtime.output.formats.run_length import run_lengths
from glus_edge.runtime.utils.atomic_file import write_file
from glus_edge.runtime.utils.text import printable


def write_cvat(folder: Path, video: MaskedVideo) -> None:
    """See MaskFormat. Labels are the sentences; control characters, which XML cannot hold, are escaped."""
    names = [printable(text) for text in video.sentences]
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    task = ElementTree.SubElement(ElementTree.SubElement(root, "meta"), "task")
    ElementTree.SubElement(task, "name").text = printable(video.name)
    ElementTree.SubElement(task, "size").text = str(len(video.frames))
    labels = ElementTree.SubElement(task, "labels")
    for name in names:
        label = ElementTree.SubElement(labels, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "mask"
    for frame in video.frames:
        masks = frame.masks()
        height, width = masks.shape[1:]
        about = {"id": str(frame.index), "name": f"{frame.stem}.jpg", "width": str(width), "height": str(height)}
        image = ElementTree.SubElement(root, "image", about)
        for name, mask in zip(names, masks, strict=True):
            if mask.any():
                left, top, wide, high = cv2.boundingRect(mask.view(np.uint8))
                runs = run_lengths(mask[top : top + high, left : left + wide].ravel())
                box = {"left": str(left), "top": str(top), "width": str(wide), "height": str(high)}
                about = {"label": name, "source": "auto", "occluded": "0", "rle": ", ".join(map(str, runs))}
                ElementTree.SubElement(image, "mask", {**about, **box, "z_order": "0"})
    ElementTree.indent(root)
    write_file(folder / "annotations.xml", ElementTree.tostring(root, "utf-8", xml_declaration=True))
