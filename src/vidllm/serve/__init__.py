"""Scenes over HTTP: encode a video once, then ask, find, describe and fetch its geometry."""
