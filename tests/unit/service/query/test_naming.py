"""Short names of models and corpora: what people call them, without their places."""

import pytest

from service.query.naming import corpus_name, model_name


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("deconvoy://zfnet-mini", "zfnet-mini"),
        ("deconvoy://zfnet-mini?weights=/a/checkpoints/epoch-05.safetensors", "zfnet-mini · epoch-05"),
        ("torchvision://squeezenet1_1?weights=/w/squeezenet1_1/model.safetensors", "squeezenet1_1"),
        ("torchvision://resnet18?weights=IMAGENET1K_V1", "resnet18"),
        ("torchvision://resnet18?weights=/data/my weights/dog.pt", "resnet18 · dog"),
        ("torchvision://resnet18 torchvision://alexnet", "resnet18"),  # several, of a run about filters
        ("hf-hub:timm/resnet50.a1_in1k@abc", "resnet50.a1_in1k"),
        ("stored://Net@" + "0" * 32, "Net"),
        ("/home/me/My Models/net.py:build", "build"),
        ("/home/me/exported net.pt2", "exported net"),
    ],
)
def test_a_model_has_the_name_of_its_network_and_of_weights_that_say_more(source, name):
    assert model_name(source) == name


@pytest.mark.parametrize(
    ("source", "name", "short"),
    [
        ("/data/caltech101-20x50", "caltech101-20x50", "caltech101-20x50"),
        ("/home/alice/photos/", "alice/photos", "photos"),
        ("s3://bucket/imagenet/train/*.tar", "imagenet/train", "train"),
        ("s3://bucket/wds/shards-{000..999}.tar", "wds", "wds"),
        ("shards/{000..999}.tar", "shards", "shards"),
        ("hf://datasets/org/birds@main", "birds", "birds"),
        ("/data/my@home", "my@home", "my@home"),
        ("/data/list.csv", "list", "list"),
        ("/data/train.tar.gz", "data/train", "train"),
        ("photos", "photos", "photos"),
    ],
)
def test_a_corpus_has_the_last_part_of_its_place(source, name, short):
    assert (corpus_name(source), corpus_name(source, is_short=True)) == (name, short)
