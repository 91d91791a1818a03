"""Which shifts an input of a given height and width admits."""

import pytest

from jobs.invariance import require_inside
from workers.errors import SpecError
from workers.spec.invariance import InvarianceSpec

HEIGHT, WIDTH = 224, 448


@pytest.mark.parametrize(
    ("transforms", "shift"),
    [(("translate_x",), 300), (("translate_x",), -447), (("translate_y", "translate_x"), 223), (("rotate",), 500)],
)
def test_a_shift_is_compared_with_the_side_in_its_direction(transforms, shift):
    require_inside(InvarianceSpec(transforms=transforms, translations=(shift,)), HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("transforms", "shift", "limit"),
    [
        (("translate_x",), 448, "stay below 448 px for translate_x"),
        (("translate_x", "translate_y"), -300, "stay below 224 px for translate_y"),
    ],
)
def test_a_shift_out_of_the_input_is_one_line(transforms, shift, limit):
    line = f"invariance.translations: {shift} px moves the image out of the model's input of 224 x 448 px; {limit}"
    with pytest.raises(SpecError, match=line):
        require_inside(InvarianceSpec(transforms=transforms, translations=(shift,)), HEIGHT, WIDTH)
