"""The eight labels of the embedded checkpoint, and the label of each photo folder. Read by every module here.

Names follow Fashionpedia where it has one. Folders that a person cannot tell apart at 224 pixels share a label.
"""

LABELS: tuple[str, ...] = ("top, t-shirt, sweatshirt", "pants", "shorts", "skirt", "dress", "coat", "shoe", "hat")

FOLDER_LABELS: dict[str, str] = {
    "t-shirt": "top, t-shirt, sweatshirt",
    "longsleeve": "top, t-shirt, sweatshirt",
    "shirt": "top, t-shirt, sweatshirt",
    "pants": "pants",
    "shorts": "shorts",
    "skirt": "skirt",
    "dress": "dress",
    "outwear": "coat",
    "shoes": "shoe",
    "hat": "hat",
}
