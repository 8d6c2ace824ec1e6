"""The one way from rows to answers: serving, batch and proof all go through it."""

from asfitted.scoring.model import FittedModel
from asfitted.scoring.recording import Identity, Recorder
from asfitted.scoring.scorer import Scorer

__all__ = ["FittedModel", "Identity", "Recorder", "Scorer"]
