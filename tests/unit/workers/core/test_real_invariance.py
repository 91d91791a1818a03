"""Real photos in a real network: the first layer's features move at once with the image, the last ones' by and by."""

import numpy as np
import pytest
import torch
from PIL import Image

from workers.core.invariance import moved, usual_layers
from workers.core.transform import transformed
from workers.models import model as models
from workers.spec.invariance import Border, Transform
from workers.spec.parts import ModelSpec

PHOTOS = ("butterfly/image_0011.jpg", "kangaroo/image_0014.jpg", "lotus/image_0012.jpg", "watch/image_0005.jpg")


@pytest.mark.shared
@pytest.mark.parametrize(
    ("transform", "amounts"), [(Transform.TRANSLATE_Y, (0, 7, 21, 43)), (Transform.SCALE, (1, 1.1, 1.4, 1.8))]
)
def test_the_first_layer_moves_at_once_and_the_fully_connected_one_with_the_transform(shared, transform, amounts):
    model = models.load(ModelSpec(source="deconvoy://zfnet-mini"))
    network, preprocessing = model.network.to(dtype=torch.float32), model.preprocessing
    numbers = [layer.node for layer in network.select(usual_layers(network))]
    found = []
    for name in PHOTOS:
        with Image.open(shared / "images" / "caltech101-20x50" / name) as opened:
            pixels = preprocessing.prepare(np.array(opened.convert("RGB")), 10**8)
        seen = [transformed(pixels, transform, amount, Border.REFLECT) for amount in amounts]
        images = [preprocessing.normalise(each[None].clone()) for each in seen]
        found.append([each.relative for each in moved(network, images[0], images, numbers)])
    first, last, output = np.mean(found, axis=0).T  # (amounts,) each
    assert first[0] == last[0] == output[0] == 0
    assert first[1] > 0.75 * first[3]
    assert last[1] < 0.5 * last[3] and output[1] < 0.5 * output[3]
    assert (np.diff(last) > 0).all() and (np.diff(output) > 0).all()
