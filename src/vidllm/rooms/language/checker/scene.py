"""A scene for the checker: arrays of boxes, and which objects count as seen."""

from functools import cached_property

import numpy as np

from vidllm.rooms.language.settings import VisibilityThresholds
from vidllm.rooms.world import ObservedScene


class CheckedScene:
    """Objects as arrays, in the order of the scene; ``row[id]`` finds an object's place."""

    def __init__(self, scene: ObservedScene, thresholds: VisibilityThresholds):
        self.scene, self.thresholds = scene, thresholds
        objects = scene.objects
        self.row = {item.instance_id: index for index, item in enumerate(objects)}
        self.ids = np.array([item.instance_id for item in objects])
        boxes = np.array([item.box for item in objects], float).reshape(-1, 6)
        self.center, self.half = boxes[:, :3], boxes[:, 3:] / 2
        self.support = np.array([item.support for item in objects])
        self.colors = [[w.replace("grey", "gray") for w in item.color_words] for item in objects]
        self.materials = [item.material_word for item in objects]
        self.names = [{item.category, *item.synonyms} for item in objects]
        self.categories = [item.category for item in objects]
        self.found: dict[str, int] = {}
        """Objects that descriptions pick out, once resolved."""
        self.polygon = np.asarray(scene.outline, float)

    @cached_property
    def pixels(self) -> np.ndarray:
        """Visible pixels, objects by frames."""
        return np.array([item.visible_pixels for item in self.scene.objects], float)

    @cached_property
    def image_area(self) -> float:
        return float(self.scene.path.height * self.scene.path.width)

    @cached_property
    def seen(self) -> np.ndarray:
        """Objects that may be spoken of."""
        limits = self.thresholds
        big_enough = (self.pixels >= limits.seen_area_share * self.image_area).sum(axis=1)
        needed = max(limits.seen_frames, limits.seen_frame_share * self.pixels.shape[1])
        shares = np.array([item.visible_share for item in self.scene.objects])
        return (big_enough >= needed) & (shares >= limits.seen_share)

    @cached_property
    def glimpsed(self) -> np.ndarray:
        """Objects of which the camera saw anything worth a word; contains ``seen``."""
        return self.pixels.max(axis=1) >= self.thresholds.glimpse_area_share * self.image_area

    def called(self, name: str) -> np.ndarray:
        """Which objects have this name."""
        return np.array([name in names for names in self.names], bool)

    # Geometry: distances between all objects and one, or a point; metres.

    def gap(self, index: int, axes: int = 2) -> np.ndarray:
        """Distance of every box from one box; two axes for footprints, three for bodies."""
        apart = np.abs(self.center - self.center[index]) - self.half - self.half[index]
        return np.linalg.norm(np.clip(apart[:, :axes], 0, None), axis=1)

    def gap_to(self, point: np.ndarray) -> np.ndarray:
        """Horizontal distance of every footprint from a point."""
        apart = np.abs(self.center[:, :2] - point) - self.half[:, :2]
        return np.linalg.norm(np.clip(apart, 0, None), axis=1)

    def bearing(self, position: np.ndarray, facing: np.ndarray) -> np.ndarray:
        """Degrees every centre lies to the left of a direction, seen from a point."""
        left = np.array([-facing[1], facing[0]])
        offset = self.center[:, :2] - position
        return np.degrees(np.arctan2(offset @ left, offset @ facing))

    @cached_property
    def wall_gap(self) -> np.ndarray:
        """Distance of every footprint from the nearest wall, by sampling the walls every 2 cm."""
        nearest = np.full(len(self.center), np.inf)
        for start, end in zip(self.polygon, np.roll(self.polygon, -1, axis=0), strict=True):
            count = max(2, int(np.linalg.norm(end - start) / 0.02))
            points = start + np.linspace(0, 1, count)[:, None] * (end - start)  # [N, 2]
            apart = np.abs(self.center[:, None, :2] - points) - self.half[:, None, :2]
            lengths = np.linalg.norm(np.clip(apart, 0, None), axis=-1)  # [Q, N]
            nearest = np.minimum(nearest, lengths.min(axis=1))
        return nearest

    @cached_property
    def corner_gap(self) -> np.ndarray:
        """Distance of every footprint from the nearest corner that points outward."""
        before = self.polygon - np.roll(self.polygon, 1, axis=0)
        after = np.roll(self.polygon, -1, axis=0) - self.polygon
        outward = before[:, 0] * after[:, 1] - before[:, 1] * after[:, 0] > 0
        return np.min([self.gap_to(corner) for corner in self.polygon[outward]], axis=0)
