"""Words that `tiny` names patches with, in the order of its weights."""

# fmt: off
CATEGORIES = (
    "air conditioner", "aquarium", "armchair", "bag", "ball", "bathtub", "bean bag", "bed", "bench",
    "bicycle", "bidet", "blender", "blinds", "book", "bookshelf", "bottle", "bowl", "box", "broom",
    "bunk bed", "cabinet", "candle", "ceiling fan", "ceiling lamp", "chair", "chessboard", "clock",
    "clothes rack", "coffee maker", "coffee table", "computer", "computer tower", "crib", "cup",
    "curtain", "desk", "dishwasher", "door", "dresser", "dressing table", "drying rack",
    "exercise machine", "fan", "file cabinet", "fire extinguisher", "fireplace", "floor lamp",
    "floor mat", "flowers", "freezer", "guitar", "hat", "high chair", "kettle", "keyboard",
    "kitchen cabinet", "kitchen sink", "ladder", "laptop", "laundry basket", "microwave", "mirror",
    "monitor", "nightstand", "office chair", "ottoman", "pen holder", "piano", "picture", "pillow",
    "plant", "plate", "pot", "printer", "projector", "radiator", "radio", "range hood",
    "refrigerator", "rice cooker", "room divider", "rug", "shoes", "shower", "shower curtain",
    "side table", "sink", "sofa", "speaker", "stool", "stove", "stroller", "suitcase", "table",
    "table lamp", "teapot", "teddy bear", "telephone", "toaster", "toilet", "toilet paper", "towel",
    "toy", "trash can", "tv", "tv stand", "vase", "wall cabinet", "wall lamp", "wardrobe",
    "washing machine", "water cooler", "wheelchair", "whiteboard", "window",
)
"""Of all that stands in Rooms."""
COLORS = (
    "white", "black", "gray", "brown", "beige", "red", "blue", "green", "yellow", "orange",
    "purple", "pink", "turquoise",
)
"""Words of colours in Rooms."""
# fmt: on
