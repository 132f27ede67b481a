"""What settings leave to the model, and what they refuse."""

import pytest

from samgeo.errors import UsageError
from samgeo.settings import Settings

THRESHOLDS = ["pred_iou_thresh", "stability_score_thresh", "box_nms_thresh"]


@pytest.mark.parametrize("name", THRESHOLDS)
def test_thresholds_are_the_models_unless_given(name):
    assert getattr(Settings(), name) is None
    assert getattr(Settings(**{name: 0.5}), name) == 0.5
    with pytest.raises(UsageError, match="a fraction from 0 to 1"):
        Settings(**{name: 70})
