"""Labels: one list for the renderer, the photo folders and the checkpoint."""

from transformers import YolosConfig

from training.checkpoint import CHECKPOINT
from training.labels import FOLDER_LABELS, LABELS


def test_every_folder_of_the_data_set_has_a_label_and_every_label_a_folder() -> None:
    assert set(FOLDER_LABELS.values()) == set(LABELS)


def test_the_checkpoint_numbers_the_labels_as_the_renderer_does() -> None:
    config = YolosConfig.from_pretrained(CHECKPOINT)
    assert config.id2label == dict(enumerate(LABELS))
    assert config.label2id == {label: number for number, label in enumerate(LABELS)}
