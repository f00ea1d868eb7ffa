"""Examples -> a tuned model, which is just another model.

LoRA (Hu et al. 2021) on the upper layers of the encoder, with a head for each behaviour field; a pointer for each field
that is read out of the message; an FAQ head that can repeat the answers that train taught; and a reading head that learns
from the quotes where an answer stands. Tuned with passages, the heads see those too, gold ones and
distractors together (RAFT, Zhang et al. 2024).
"""

from stepladder.tuning.model import TunedModel, load, train_or_load
from stepladder.tuning.train import TuningSettings

__all__ = ["TunedModel", "TuningSettings", "load", "train_or_load"]
