"""Rooms and their furniture from a seed."""

from vidllm.rooms.layout.building import build_world
from vidllm.rooms.layout.program import ROOM_TYPES

__all__ = ["ROOM_TYPES", "build_world"]
