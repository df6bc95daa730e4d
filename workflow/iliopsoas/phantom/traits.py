"""One synthetic participant in numbers: what anatomy, archive and tables are made from."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Traits:
    """A synthetic participant at one imaging visit.

    Parameters
    ----------
    sex : str
        ``"female"`` or ``"male"``.
    age : float
        Years at the visit, whole.
    height_cm, weight_kg : float
        Standing height in centimetres, body mass in kilograms.
    left_ml, right_ml : float
        Volume asked of each iliopsoas muscle in millilitres; the label map made
        from it says what was achieved.
    fat_fraction : float
        Fat fraction inside the muscles, 0 to 1.
    seed : int
        Seed of everything about this visit's anatomy that is not a number above.
    """

    sex: str
    age: float
    height_cm: float
    weight_kg: float
    left_ml: float
    right_ml: float
    fat_fraction: float
    seed: int

    @property
    def bmi(self) -> float:
        """Body mass index in kg/m^2."""
        return self.weight_kg / (self.height_cm / 100.0) ** 2

    @property
    def total_ml(self) -> float:
        """Both muscles together in millilitres."""
        return self.left_ml + self.right_ml
