"""Furniture: a curated catalogue of models, parametric pieces, and how both are varied."""

from vidllm.rooms.furniture.library import Entry, FurnitureLibrary

__all__ = ["Entry", "FurnitureLibrary"]
