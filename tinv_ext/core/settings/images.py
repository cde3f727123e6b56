"""Training images, their captions and the prompts made of them."""

from __future__ import annotations

from collections.abc import Mapping

from tinv_ext.core.data.image_fit import CROPS, FLIPS, INTERPOLATIONS
from tinv_ext.core.paths import path_problems
from tinv_ext.core.settings.limits import MAX_SIZE, MIN_SIZE, SIZE_STEP
from tinv_ext.core.settings.setting import Setting

RESIZE_MODES = ("crop", "buckets", "stretch", "keep")
LATENT_SAMPLING = ("once", "deterministic", "random")

IMAGES: Mapping[str, Setting] = {
    "images": Setting(
        "Dataset directory",
        "Folder of training images; captions go in .txt files next to them. hub:owner/name is a dataset at Hugging "
        "Face's hub.",
        check=path_problems,
    ),
    "dataset_config": Setting(
        "Dataset config",
        "TOML or JSON file in kohya's form, with subsets of images that have settings of their own. It replaces the "
        "dataset directory.",
        check=path_problems,
    ),
    "in_json": Setting(
        "Metadata file",
        "JSON or JSONL file in kohya's form, with images, their captions and tags; no other images are used.",
        check=path_problems,
    ),
    "recursive": Setting(
        "Images in sub-folders, too",
        "Use the images in the folder's sub-folders as well.",
    ),
    "repeats": Setting(
        "Repeats",
        "How often each image comes in an epoch. Folders called N_name in the dataset directory say it themselves.",
        minimum=1,
        maximum=1_000_000,
    ),
    "width": Setting(
        "Width",
        "Training width in pixels; 0 = the model's native size.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
    "height": Setting(
        "Height",
        "Training height in pixels; 0 = the model's native size.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
    "resize_mode": Setting(
        "Resize",
        "crop: scale, then crop. buckets: the same, to the shape closest to the image's out of many with as many "
        "pixels. stretch: ignore the proportions. keep: leave each image at its own size, cropped to whole bucket "
        "steps.",
        choices=RESIZE_MODES,
    ),
    "crop_mode": Setting(
        "Crop",
        "Where an image is cropped. center: in the middle. focal: around what stands out (edges, detail, faces). "
        "random: in several places, of which each visit uses one.",
        choices=CROPS,
    ),
    "interpolation": Setting(
        "Interpolation",
        "How images are scaled: lanczos and bicubic are sharp, area averages, nearest keeps hard pixels.",
        choices=tuple(INTERPOLATIONS),
    ),
    "bucket_step": Setting(
        "Bucket resolution steps",
        "Widths and heights of buckets are multiples of this.",
        minimum=8,
        maximum=1024,
        multiple=SIZE_STEP,
    ),
    "bucket_min": Setting(
        "Minimum bucket resolution",
        "Shortest side of a bucket in pixels; 0 = half the side of a square with as many pixels.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
    "bucket_max": Setting(
        "Maximum bucket resolution",
        "Longest side of a bucket, or of an image that keeps its size; 0 = twice the side of a square with as many "
        "pixels.",
        minimum=MIN_SIZE,
        maximum=MAX_SIZE,
        multiple=SIZE_STEP,
        zero=True,
    ),
    "bucket_no_upscale": Setting(
        "Do not enlarge images",
        "Images smaller than their bucket keep their size, cropped to whole bucket steps.",
    ),
    "flip": Setting(
        "Flip",
        "Show images mirrored, too: horizontal (left to right), vertical (upside down) or both. Each visit uses one "
        "way.",
        choices=tuple(FLIPS),
    ),
    "color_aug": Setting(
        "Vary colors",
        "Show images in slightly different hues and brightness, too.",
    ),
    "image_variants": Setting(
        "Variants per image",
        "How many random crops or color variations of each image are encoded; flips multiply them.",
        minimum=2,
        maximum=64,
    ),
    "template": Setting(
        "Prompt template",
        "subject, style, subject_filewords, style_filewords, none (the caption alone), or a text file of your own.",
        check=path_problems,
    ),
    "prepend_word": Setting(
        "Put the word in front",
        "Add the word to the front of prompts that lack it, instead of refusing them.",
    ),
    "emphasis": Setting(
        "Brackets are emphasis",
        "Read (…) and [...] in training prompts as weights, not as plain text.",
    ),
    "alpha_as_loss_weight": Setting(
        "Use PNG alpha channel as loss weight",
        "Transparent parts of an image are not learned.",
    ),
    "masked_loss": Setting(
        "Use masks as loss weight",
        "Learn only what is white in an image's mask: a file beside it named <image>-masklabel.png, or one of the same "
        "name in the mask folder.",
    ),
    "mask_folder": Setting(
        "Mask folder",
        "Folder of masks that have the names of their images. Leave empty for -masklabel.png files.",
        check=path_problems,
    ),
    "unmasked_weight": Setting(
        "Unmasked weight",
        "How much masked-out and transparent parts still count in the loss.",
        minimum=0.0,
        maximum=1.0,
    ),
    "unmasked_probability": Setting(
        "Unmasked probability",
        "How often an image is learned as a whole, without its mask.",
        minimum=0.0,
        maximum=1.0,
    ),
    "normalize_masked_area_loss": Setting(
        "Normalize masked area loss",
        "An image counts as much as any other, however little of it the mask shows.",
    ),
    "reg_images": Setting(
        "Regularization images",
        "Folder of images of the class in general: the word is learned from them as often as from your images, so that "
        "it stays one of its class.",
        check=path_problems,
    ),
    "class_prompt": Setting(
        "Class prompt",
        "Prompt of the regularization images; it needs [name]. Leave empty for the template's.",
    ),
    "num_class_images": Setting(
        "Number of regularization images",
        "If the folder of regularization images has fewer, the model generates the rest before the first step, as the "
        "class prompt says, with the class (the initialization text) in the word's place. Without a folder, they are "
        "kept for other runs in the log directory. 0 = only those that there are.",
        minimum=0,
        maximum=10_000,
    ),
    "prior_loss_weight": Setting(
        "Prior loss weight",
        "How much a regularization image counts beside one of yours; 0 = not at all.",
        minimum=0.0,
        maximum=100.0,
    ),
    "latent_sampling": Setting(
        "Latent sampling method",
        "random: sample the VAE's latent each time an image is used. once: sample it once per run. deterministic: use "
        "its mean.",
        choices=LATENT_SAMPLING,
    ),
    "cache_latents": Setting(
        "Cache latents on disk",
        "Keep the encoded images for the next run on the same images.",
    ),
}
