"""Writes everything about a scene: one stream of chance per kind of language."""

import zlib
from functools import partial
from itertools import islice

import numpy as np

from vidllm.rooms.language import captions, records, referring, routes, scanqa, vsi
from vidllm.rooms.language import scanqa_comparisons as comparisons
from vidllm.rooms.language import scanqa_places as places
from vidllm.rooms.language.balance import Kind, draft_numbers, draft_rounds
from vidllm.rooms.language.descriptions import RELATIONS, mentioned
from vidllm.rooms.language.drafting import Context
from vidllm.rooms.language.settings import LanguageSettings
from vidllm.rooms.language.situated import situated_questions
from vidllm.rooms.language.situations import situations
from vidllm.rooms.language.view import View
from vidllm.rooms.world import ObservedScene

MEASURES = tuple(comparisons.WORDS)
SCANQA: dict[str, Kind] = {
    "existence": Kind(scanqa.existence, 2),
    "colored existence": Kind(scanqa.colored_existence, 2),
    "placed existence": Kind(scanqa.placed_existence, 2),
    "color": Kind(scanqa.color),
    "material": Kind(scanqa.material),
    "is_color": Kind(scanqa.is_color, 2),
    "is_material": Kind(scanqa.is_material, 2),
    "is_placed": Kind(places.is_placed, 2),
    "where": Kind(places.where),
    **{f"what {kind}": Kind(partial(places.what, kind=kind)) for kind in RELATIONS},
    "what between": Kind(places.what_between),
    "what beside": Kind(comparisons.beside),
    "which side": Kind(comparisons.which_side, 2),
    "closer": Kind(comparisons.closer, 2),
    **{f"which {key}": Kind(partial(comparisons.which, key=key), 2) for key in MEASURES},
    **{f"compare {key}": Kind(partial(comparisons.compare, key=key), 2) for key in MEASURES},
}
SPATIAL: dict[str, Kind] = {
    "object_abs_distance": Kind(vsi.absolute_distance),
    "object_size_estimation": Kind(vsi.object_size),
    "object_rel_distance": Kind(vsi.relative_distance, 4, whole=False),
    **{
        kind: Kind(partial(vsi.relative_direction, question_type=kind), len(sectors))
        for kind, sectors in vsi.SECTORS.items()
    },
    "obj_appearance_order": Kind(vsi.appearance_order, 4, whole=False),
    "route of one turn": Kind(partial(routes.route, lengths=(1,)), 3, whole=False),
    "route of more": Kind(partial(routes.route, lengths=(2, 3)), 4, whole=False),
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
    settings = context.settings
    drafts = draft_rounds(context, SCANQA, settings.questions_per_type)
    drafts += draft_numbers(context, scanqa.count, settings.count_chances, len(SCANQA))
    scene_id = context.view.scene.scene_id
    return [records.scanqa_row(scene_id, index, draft) for index, draft in enumerate(drafts)]


def _vsi(context: Context) -> list[dict]:
    settings = context.settings
    drafts = draft_rounds(context, SPATIAL, settings.spatial_questions_per_type)
    drafts += draft_numbers(context, vsi.counting, settings.spatial_count_chances, len(SPATIAL))
    size = vsi.room_size(context)
    drafts += [size] if size is not None else []
    scene_id = context.view.scene.scene_id
    return [records.vsi_row(scene_id, index, draft) for index, draft in enumerate(drafts)]


def _situated(context: Context) -> list[dict]:
    rows: list[dict] = []
    scene_id = context.view.scene.scene_id
    found = list(islice(situations(context), context.settings.situations))
    for situation, drafts in situated_questions(context, found):
        texts = list(dict.fromkeys(situation.text(context) for _ in range(6)))[:3]
        for draft in drafts:
            rows.append(records.sqa3d_row(scene_id, len(rows), texts, situation, draft))
    return rows
