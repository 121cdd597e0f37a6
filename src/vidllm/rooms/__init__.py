"""Rooms: an endless indoor world with exact geometry and language, rendered on the spot."""
