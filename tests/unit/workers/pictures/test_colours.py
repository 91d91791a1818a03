"""Colours of occlusion maps: those of classes are written down, so that a page of them needs no matplotlib."""

from matplotlib import colormaps
from matplotlib.colors import to_hex

from workers.pictures import colours


def test_classes_have_the_first_colours_of_tab10():
    classes = list(range(7, 7 + colours.SHOWN_CLASSES + 2))
    expected = {index: colormaps["tab10"](number)[:3] for number, index in enumerate(classes[: colours.SHOWN_CLASSES])}
    assert colours.class_colours(classes) == expected
    assert len(colours.CLASS_COLOURS) == colours.SHOWN_CLASSES


def test_a_colour_is_written_as_matplotlib_writes_it():
    for colour in (*colours.class_colours(range(8)).values(), colours.OTHER_CLASS, (0.0, 1.0, 0.002)):
        assert colours.hexadecimal(colour) == to_hex(colour)
