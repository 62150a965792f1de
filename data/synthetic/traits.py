"""The looks of the seven classes: the typical value of each trait, and a lesion's own values drawn around it."""

import math

import numpy as np

from hamcache.data.synthetic.structures import STRUCTURES

# Trait (in [0, 1]; radius in millimetres): its mean in nv, mel, bkl, bcc, akiec, vasc, df. The traits are those of
# the dermatoscopic criteria (ABCD rule, seven-point checklist, revised pattern analysis); the values are ours,
# chosen by eye beside real photographs.
CLASSES = ("nv", "mel", "bkl", "bcc", "akiec", "vasc", "df")
_TABLE = {
    # shape
    "radius": (2.9, 3.9, 3.5, 2.8, 3.6, 2.3, 2.6),
    "elongation":   (.30, .45, .35, .35, .45, .30, .20),
    "asymmetry":    (.10, .75, .35, .45, .55, .25, .08),
    "irregularity": (.20, .75, .35, .45, .65, .20, .15),
    "sharpness":    (.45, .60, .88, .35, .15, .85, .08),
    # pigments
    "melanin":      (.55, .80, .45, .10, .18, .02, .28),
    "variegation":  (.15, .85, .35, .30, .45, .15, .15),
    "blood":        (.15, .15, .08, .32, .42, .55, .25),
    "erythema":     (.05, .12, .05, .35, .55, .25, .12),
    "waxy":         (.02, .03, .55, .05, .10, .02, .05),
    # structures
    "network":      (.65, .50, .05, .02, .04, .02, .50),
    "atypia":       (.10, .90, .40, .40, .40, .20, .10),
    "globules":     (.40, .40, .05, .05, .03, .02, .03),
    "blotch":       (.10, .65, .06, .05, .03, .05, .03),
    "streaks":      (.02, .50, .02, .05, .02, .02, .02),
    "veil":         (.01, .55, .06, .10, .03, .08, .03),
    "regression":   (.02, .40, .08, .08, .10, .02, .05),
    "cysts":        (.04, .04, .75, .05, .05, .02, .03),
    "comedones":    (.02, .03, .65, .05, .05, .02, .02),
    "ridges":       (.03, .04, .50, .03, .05, .02, .02),
    "vessels":      (.02, .08, .03, .85, .15, .08, .05),
    "dots":         (.03, .10, .05, .10, .60, .05, .10),
    "nests":        (.01, .08, .03, .70, .03, .04, .02),
    "ulcer":        (.01, .05, .03, .40, .12, .03, .02),
    "lacunae":      (.01, .02, .02, .03, .02, .93, .02),
    "scar":         (.02, .06, .03, .08, .04, .04, .88),
    "scale":        (.02, .03, .20, .12, .70, .03, .08),
    "follicles":    (.01, .02, .06, .04, .55, .02, .02),
    "sun_damage":   (.12, .35, .40, .45, .65, .15, .18),
}  # fmt: skip

TRAITS = tuple(_TABLE)


def draw_traits(rng: np.random.Generator, label: str, difficulty: float) -> dict[str, float]:
    """The traits of one lesion of class `label`: a draw around its class, mixed with one of another class.

    Every lesion has a class that it mimics, as lesions do: a pigmented basal cell carcinoma that looks like a
    melanoma, a melanoma that looks like a naevus. `difficulty` in [0, 1] says how far each trait moves there: at 0
    not at all, at 1 by three eighths on the average and in some lesions nearly the whole way. The random draws are
    the same at every difficulty.
    """
    typical = [_draw_trait(rng, trait, label) for trait in TRAITS]
    mimicked = rng.choice([name for name in CLASSES if name != label])
    other = [_draw_trait(rng, trait, mimicked) for trait in TRAITS]
    shares = difficulty * rng.uniform(0.1, 0.65) * rng.uniform(0.5, 1.5, len(TRAITS))
    rows = zip(TRAITS, typical, other, shares, strict=True)
    return {trait: float((1 - share) * here + share * there) for trait, here, there, share in rows}


def _draw_trait(rng: np.random.Generator, trait: str, label: str) -> float:
    mean = _TABLE[trait][CLASSES.index(label)]
    if trait == "radius":
        return mean * math.exp(rng.normal(0, 0.3))
    # Shape and pigment vary around the mean; a structure may be plain in one lesion and absent in the next.
    concentration = 3.0 if trait in STRUCTURES else 9.0
    return float(rng.beta(concentration * mean, concentration * (1 - mean)))
