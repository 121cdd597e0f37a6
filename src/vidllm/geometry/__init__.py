"""Cameras, alignment, boxes and point clouds: geometry without learned parts."""
