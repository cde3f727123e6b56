"""Why options of other programs have no use here. Each reason is one sentence that follows a list of options."""

from __future__ import annotations

from tinv_ext.core.messages import message

ATTENTION = message("peers.attention", "PyTorch's own memory-efficient attention is always used.")
EIGHT_BIT = message(
    "peers.eight_bit", "The optimizer only holds the few numbers of the word, so 8 bits would save nothing."
)
ONE_PROCESS = message(
    "peers.one_process",
    "A run uses one device (--device) unless it is started by accelerate launch -m tinv_ext train, or by torchrun.",
)
LOADING = message(
    "peers.loading", "Images are encoded once, before the first step, and loading them takes no time after that."
)
RAM = message("peers.ram", "There is one way to load the model, which holds no part of it twice.")
TF32 = message("peers.tf32", "On a GPU the model runs in fp16 unless you choose otherwise, and TF32 is for fp32 only.")
DETECTED = message("peers.detected", "What kind of model it is can be seen from the model itself.")
MODEL_FILES = message("peers.model_files", "A model is loaded from its own files, the tokenizer included.")
VAE = message("peers.vae", "The VAE always runs in fp32.")
TEXT_ENCODER = message(
    "peers.text_encoder", "The word changes what the text encoder returns at every step, so it cannot be cached."
)
CURVE = message("peers.curve", "The curve is in the run's folder (loss.csv) and on the page.")
RUN_NAMES = message("peers.run_names", "A run's folder is named after the word and the time.")
TENSORBOARD = message(
    "peers.tensorboard", "TensorBoard gets every preview, and is written whenever the run's state is saved."
)
TRACKER_CONFIG = message("peers.tracker_config", "A tracker takes its own settings from its environment variables.")
SECRET = message(
    "peers.secret", "A key on a command line can be read by others. Log in once with the program's own command."
)
CONSOLE = message("peers.console", "The run's folder has the whole log.")
UPLOAD = message(
    "peers.upload", "The finished embedding is uploaded (--push-to-hub), to a repository of its own; a run stays here."
)
METADATA = message(
    "peers.metadata", "The metadata of the file tells the word, the model and the run; other texts go in description."
)
FOLDERS = message("peers.folders", "Images are always read from folders.")
BUCKETS = message(
    "peers.buckets", "A bucket has as many pixels as width × height, in the shape closest to the image's."
)
FOCAL = message("peers.focal", "The weights of a focal crop are fixed.")
STATE = message("peers.state", "A run always saves its state, and always replaces the last one.")
ONLY_THE_WORD = message("peers.only_the_word", "Only the vectors of the word are trained and saved.")
LENGTH = message("peers.length", "Prompts may have any number of tokens.")
CACHE = message(
    "peers.cache", "Cached latents belong to the content of an image: if that changes, they are made again."
)
ALWAYS_CONFIG = message("peers.always_config", "Every run saves its settings in config.json.")
PRECISION = message("peers.precision", "The vectors are always trained in fp32; --precision is that of the model.")
FILE_NAME = message("peers.file_name", "The file is always named after the word, as the WebUI expects.")
MEMORY = message("peers.memory", "If memory runs out, the run takes the next step that saves some, by itself.")
NAMED_BY_FOLDER = message("peers.named_by_folder", "A subset is called by its folder.")
ONE_SEED = message("peers.one_seed", "One seed drives the whole run.")
ALWAYS_VARIES = message("peers.always_varies", "Prompts are made again at every visit of an image.")
TAGS_ALIKE = message("peers.tags_alike", "Tags that must stay go first (keep_tokens); all others are dropped alike.")
SMALL_LETTERS = message(
    "peers.small_letters", "The text encoders read capitals as small letters, so it would change nothing."
)
COLORS = message(
    "peers.colors", "Colors vary by hue and brightness (color_aug), as much as with kohya: 8 of 180, and 5 %."
)
PREPARED = message("peers.prepared", "A change that is always the same belongs into the images themselves.")
ROTATED = message("peers.rotated", "Images are not rotated: their corners would have to be made up or cut off.")
MASKS_AS_DRAWN = message("peers.masks_as_drawn", "Masks are used as they are drawn.")
CLASS_IMAGES = message(
    "peers.class_images", "Images of the class are generated one at a time, in the precision of the training."
)
FACES = message(
    "peers.faces", "It needs kohya's positions of faces in the names of the files; crop_mode=focal finds faces itself."
)
BITS = message("peers.bits", "The weights of the model keep their 16 or 32 bits (--precision).")
COMPILED = message("peers.compiled", "The model runs as it is loaded, without being compiled.")
AS_LOADED = message("peers.as_loaded", "The model is trained as it is loaded; this is for making images.")
INPUT_VECTORS = message(
    "peers.input_vectors",
    "Vectors go into the text encoder, as every program reads them; only OneTrainer reads those of its output.",
)
MASKED_OUT = message("peers.masked_out", "What is masked out is not learned, or with unmasked_weight less.")
CHOSEN = message("peers.chosen", "What is set for the chosen optimizer counts.")
MEAN_LOSS = message("peers.mean_loss", "The loss is the mean over all images of a step, whatever their number.")
PLAIN_OFFSET = message("peers.plain_offset", "The noise offset is the same at all timesteps.")
SAME_SEED = message("peers.same_seed", "Previews keep their seed, so that they can be compared.")
FROM_THE_FIRST = message("peers.from_the_first", "It begins with the first that is due.")
PNG = message("peers.png", "Previews are PNG files, which also say how they were made.")
AVERAGE_SHOWN = message("peers.average_shown", "Previews show what would be saved: the average, if there is one.")
ANOTHER_METHOD = message("peers.another_method", "It belongs to another method of training, not to textual inversion.")
ANOTHER_FAMILY = message("peers.another_family", "It is for models of another architecture.")
DREAMARTIST = message("peers.dreamartist", "It is a part of DreamArtist's method that is not done here.")
