"""A dashboard over a root: channels by what they look for. Takes a root, gives pages in the browser.

pip install deconvoy streamlit
streamlit run app.py -- ROOT
"""

import sys

import pandas as pd
import streamlit as st

import deconvoy

SHOWN = 24
COLUMNS = 4

st.set_page_config("Deconvoy", layout="wide")


@st.cache_resource
def open_root(root: str) -> deconvoy.Atlas:
    """The root, opened once for all sessions."""
    return deconvoy.open(root)


@st.cache_data(ttl=60, show_spinner=False)
def read_channels(root: str, run: str, layer: str) -> pd.DataFrame:
    """A layer's channels with their statistics, and the label that most of their top images share, if any do."""
    channels = open_root(root).run(run).layer(layer).summary().to_pandas()
    return channels.fillna({"label": ""})


@st.cache_data(ttl=60, show_spinner=False)
def draw(root: str, run: str, layer: str, channel: int, show: str) -> bytes:
    """The nine patches or projections of a channel."""
    return open_root(root).run(run).layer(layer).channel(channel).wall(show, side_px=300).data


root = sys.argv[1] if len(sys.argv) > 1 else st.sidebar.text_input("root", "deconvoy-demo/atlas")
try:
    scans = [run.id for run in open_root(root).runs if run.kind == "scan"]
except deconvoy.DeconvoyError as error:
    st.error(error)
    st.stop()
if not scans:
    st.info(f"{root} has no published scans.")
    st.stop()
run = open_root(root).run(st.sidebar.selectbox("run", scans))
layer = st.sidebar.selectbox("layer", [layer.name for layer in run.layers][::-1])
kinds = ["patch"] if run.about.method == "none" else ["patch", "projection"]
show = st.sidebar.radio("show", kinds, horizontal=True)
channels = read_channels(root, run.id, layer)
label = st.sidebar.selectbox("label", ["any", *sorted(set(channels.label) - {""})])
least = st.sidebar.slider("minimum share of images that activate a channel", 0.0, 1.0, 0.0)

chosen = channels[(channels.active_share >= least) & (~channels.dead)]
if label != "any":
    chosen = chosen[chosen.label == label]
chosen = chosen.sort_values("selectivity", ascending=False)

st.title(f"{layer} of {run.id}")
st.caption(f"{len(chosen):,} of {len(channels):,} channels; {run.about.images:,} images")
for start in range(0, min(SHOWN, len(chosen)), COLUMNS):
    for column, row in zip(st.columns(COLUMNS), chosen[start : start + COLUMNS].itertuples(), strict=False):
        name = f"{row.channel} · {row.label} {100 * row.purity:.0f} %" if row.label else f"{row.channel}"
        column.image(draw(root, run.id, layer, row.channel, show), caption=name, width="stretch")
st.dataframe(chosen, hide_index=True)
