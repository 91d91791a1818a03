"""How results of perturbed images are named, ordered and coloured. Takes nothing, gives what sheets and pages share."""

from workers.spec.invariance import Transform

COLOURS = (  # of images: matplotlib's tab10, which the web server must not load
    "#1f77b4",
    "#ff7f0e",
    "#2ca02c",
    "#d62728",
    "#9467bd",
    "#8c564b",
    "#e377c2",
    "#7f7f7f",
    "#bcbd22",
    "#17becf",
)
TITLES = {
    "translate_y": "moved down, px",
    "translate_x": "moved to the right, px",
    "scale": "scale, times",
    "rotate": "turned counter-clockwise, degrees",
}
BARS = {  # by kind: colour, what it is, and the error that is drawn
    "part": ("#1f77b4", "part: as given (± standard error over images)", "standard_error"),
    "random": ("#9a9a9a", "random: random places, in each image another (± deviation of draws)", "std"),
    "together": ("#d0d0d0", "together: random places that all images share (± deviation of draws)", "std"),
}
ORDER = tuple(str(each) for each in Transform)
