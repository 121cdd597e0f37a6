"""Writes everything about a scene: one stream of chance per kind of language."""

import zlib
from collections.abc import Callable
from functools import partial

import numpy as np

from vidllm.rooms.language import captions, records, referring, routes, scanqa, vsi
from vidllm.rooms.language import scanqa_comparisons as comparisons
from vidllm.rooms.language import scanqa_places as places
from vidllm.rooms.language.descriptions import RELATIONS, mentioned
from vidllm.rooms.language.drafting import Context, Draft, draft_all
from vidllm.rooms.language.setting import Setting
from vidllm.rooms.language.settings import LanguageSettings
from vidllm.rooms.language.situated import situated_questions
from vidllm.rooms.language.situations import situations
from vidllm.rooms.language.view import View
from vidllm.rooms.world import ObservedScene

Writer = Callable[[Context], Draft | None]

SCANQA: dict[str, Writer] = {
    "existence": scanqa.existence,
    "placed existence": scanqa.placed_existence,
    "color": scanqa.color,
    "material": scanqa.material,
    "count": scanqa.count,
    "is_color": scanqa.is_color,
    "is_material": scanqa.is_material,
    "is_placed": places.is_placed,
    "where": places.where,
    **{f"what {kind}": partial(places.what, kind=kind) for kind in RELATIONS},
    "what between": places.what_between,
    "what beside": comparisons.beside,
    "which side": comparisons.which_side,
    "closer": comparisons.closer,
    **{f"which {key}": partial(comparisons.which, key=key) for key in ("height", "volume")},
    **{f"compare {key}": partial(comparisons.compare, key=key) for key in ("height", "volume")},
}
SPATIAL: dict[str, Writer] = {
    "object_counting": vsi.counting,
    "object_abs_distance": vsi.absolute_distance,
    "object_size_estimation": vsi.object_size,
    "object_rel_distance": vsi.relative_distance,
    **{kind: partial(vsi.relative_direction, question_type=kind) for kind in vsi.SECTORS},
    "obj_appearance_order": vsi.appearance_order,
    "route_planning": routes.route,
}


def write_language(
    scene: ObservedScene, seed: int, settings: LanguageSettings | None = None
) -> records.Language:
    """Everything there is to say about ``scene``, and beyond doubt.

    Args:
        scene: What the camera saw.
        seed: With the scene's id, decides every choice.
        settings: Amounts and thresholds.
    """
    settings = settings or LanguageSettings()
    view = View(scene, settings.visibility)
    if not view.seen:
        return records.Language(
            scene_id=scene.scene_id, settings=settings, **{task: [] for task in records.TASKS}
        )
    streams = {}
    for index, task in enumerate(records.TASKS):
        key = [seed, zlib.crc32(scene.scene_id.encode()), index]
        rng = np.random.Generator(np.random.PCG64(np.random.SeedSequence(key)))
        streams[task] = Context(view, rng, settings)
    language = records.Language(
        scene_id=scene.scene_id,
        settings=settings,
        qa=_scanqa(streams["qa"]),
        situated_qa=_situated(streams["situated_qa"]),
        vsi=_vsi(streams["vsi"]),
        referring=referring.expressions(streams["referring"]),
        multi_referring=referring.queries(streams["multi_referring"]),
        captions=captions.captions(streams["captions"]),
        descriptions=captions.descriptions(streams["descriptions"]),
    )
    for task in records.TASKS:
        for row in getattr(language, task):
            details = row["rooms"]
            things = mentioned(view, details).union(details.get("object_ids", ()))
            details["involved_ids"] = sorted(things.union(row.get("object_ids", ())))
    return language


def _scanqa(context: Context) -> list[dict]:
    drafts = draft_all(context, SCANQA, context.settings.questions_per_type)
    scene_id = context.view.scene.scene_id
    return [records.scanqa_row(scene_id, index, draft) for index, draft in enumerate(drafts)]


def _vsi(context: Context) -> list[dict]:
    drafts = draft_all(context, SPATIAL, context.settings.spatial_questions_per_type)
    size = vsi.room_size(context)
    drafts += [size] if size is not None else []
    scene_id = context.view.scene.scene_id
    return [records.vsi_row(scene_id, index, draft) for index, draft in enumerate(drafts)]


def _situated(context: Context) -> list[dict]:
    rows: list[dict] = []
    written = 0
    for situation in situations(context):
        drafts = situated_questions(Setting(context, situation), written)
        if len(drafts) < 2:
            continue
        texts = list(dict.fromkeys(situation.text(context) for _ in range(6)))[:3]
        for draft in drafts:
            scene_id = context.view.scene.scene_id
            rows.append(records.sqa3d_row(scene_id, len(rows), texts, situation, draft))
        written += 1
        if written == context.settings.situations:
            break
    return rows
