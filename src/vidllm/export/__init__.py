"""Write reconstructions in formats that other tools open."""

from vidllm.export.npz import load_npz
from vidllm.export.scene import FILE_NAMES, Format, export_scene

__all__ = ["FILE_NAMES", "Format", "export_scene", "load_npz"]
