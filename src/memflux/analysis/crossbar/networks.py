"""Fully connected networks: trained in floating point, quantised, and run with the weights that were read back."""

import dataclasses
import itertools
import warnings

import numpy as np
from jaxtyping import Bool, Float, Int

from memflux.analysis.crossbar.weights import MOST_BITS, ROUNDINGS, dequantise, from_bits, quantise, to_bits
from memflux.errors import InvalidValue, MissingDependency, check_bool, check_choice, check_integer, check_number

try:
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.neural_network import MLPClassifier
except ImportError:
    raise MissingDependency("networks in crossbars need scikit-learn; run pip install 'memflux[analysis]'.") from None

MOST_WEIGHTS = 20_000_000


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Network:
    """Layers with ReLU between them; the class is the largest output."""

    weights: tuple[Float[np.ndarray, "_ _"], ...]  # from each layer's inputs to its outputs
    biases: tuple[Float[np.ndarray, " _"], ...]

    def scores(self, inputs: Float[np.ndarray, "B I"]) -> Float[np.ndarray, "B K"]:
        """Outputs of the last layer, before any softmax."""
        values = inputs
        for k, (weights, biases) in enumerate(zip(self.weights, self.biases, strict=True)):
            values = (np.maximum(values, 0.0) if k else values) @ weights + biases
        return values

    def predict(self, inputs: Float[np.ndarray, "B I"]) -> Int[np.ndarray, " B"]:
        """The class of each input."""
        return self.scores(inputs).argmax(axis=1)

    def accuracy(self, inputs: Float[np.ndarray, "B I"], labels: Int[np.ndarray, " B"]) -> float:
        """Share of the inputs that are given their label."""
        return float((self.predict(inputs) == labels).mean())

    @property
    def tensors(self) -> tuple[np.ndarray, ...]:
        """Weights and biases, layer by layer."""
        return tuple(itertools.chain.from_iterable(zip(self.weights, self.biases, strict=True)))


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Quantised:
    """A network as integers of some bits, each tensor with the scale by which it was divided."""

    bits: int
    words: Int[np.ndarray, " W"]  # weights and biases, layer by layer
    shapes: tuple[tuple[int, ...], ...]
    scales: tuple[float, ...]

    def to_bits(self) -> Bool[np.ndarray, " C"]:
        """What an array holds, word by word."""
        return to_bits(self.words, self.bits).ravel()

    def with_bits(self, found: Bool[np.ndarray, " C"]) -> "Quantised":
        """The same network with the words that were read."""
        return dataclasses.replace(self, words=from_bits(found.reshape(-1, self.bits)))

    def network(self, scaled: bool = True) -> Network:
        """The network of these words.

        `scaled=False` takes the integers for weights, as the published script does: weights and biases of a layer lose
        their ratio, since each tensor was divided by its own largest magnitude.
        """
        ends = np.cumsum([int(np.prod(shape)) for shape in self.shapes])[:-1]
        parts = [part.reshape(shape) for part, shape in zip(np.split(self.words, ends), self.shapes, strict=True)]
        if scaled:
            parts = [dequantise(p, self.bits, scale) for p, scale in zip(parts, self.scales, strict=True)]
        parts = [np.asarray(part, dtype=np.float64) for part in parts]
        return Network(weights=tuple(parts[::2]), biases=tuple(parts[1::2]))


def quantise_network(network: Network, bits: int, rounding: str = "towards-zero") -> Quantised:
    """Every tensor by `weights.quantise`."""
    found = [quantise(tensor, bits, rounding) for tensor in network.tensors]
    return Quantised(
        bits=bits,
        words=np.concatenate([words.ravel() for words, _ in found]),
        shapes=tuple(words.shape for words, _ in found),
        scales=tuple(scale for _, scale in found),
    )


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Training:
    """How a network is trained: scikit-learn's MLPClassifier with Adam and cross-entropy."""

    hidden: tuple[int, ...] = (20, 20)  # neurons of the layers before the output
    epochs: int = 600
    learning_rate: float = 1e-3
    penalty: float = 1e-4  # L2
    batch: int = 200

    def __post_init__(self) -> None:
        if not self.hidden:
            raise InvalidValue("hidden has no layers; give at least one number of neurons.")
        for neurons in self.hidden:
            check_integer("hidden", neurons, low=1, high=100_000)
        check_integer("epochs", self.epochs, low=1, high=1_000_000)
        check_number("learning_rate", self.learning_rate, low=1e-9, high=10.0)
        check_number("penalty", self.penalty, low=0.0, high=1e3)
        check_integer("batch", self.batch, low=1, high=1_000_000)


def train(inputs: Float[np.ndarray, "B I"], labels: Int[np.ndarray, " B"], training: Training, *, seed: int) -> Network:
    """A network with one output a class 0..K-1; InvalidValue where a class has no example."""
    classes = np.unique(labels)
    if classes.size < 3 or not np.array_equal(classes, np.arange(classes.size)):
        raise InvalidValue(f"labels are {classes[:12].tolist()}; give examples of at least three classes 0, 1, 2 ...")
    sizes = (inputs.shape[1], *training.hidden, classes.size)
    if (count := sum(a * b for a, b in itertools.pairwise(sizes))) > MOST_WEIGHTS:
        raise InvalidValue(f"layers of {sizes} neurons have {count} weights; give at most {MOST_WEIGHTS} in all.")
    model = MLPClassifier(
        hidden_layer_sizes=training.hidden,
        learning_rate_init=training.learning_rate,
        alpha=training.penalty,
        batch_size=min(training.batch, len(inputs)),
        max_iter=training.epochs,
        n_iter_no_change=training.epochs,  # as many epochs as were asked for
        random_state=check_integer("seed", seed, low=0, high=2**32 - 1),
    )
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, labels)
    weights, biases = model.coefs_, model.intercepts_
    return Network(
        weights=tuple(w.astype(np.float64) for w in weights), biases=tuple(b.astype(np.float64) for b in biases)
    )


def train_quantised(
    inputs: Float[np.ndarray, "B I"],
    labels: Int[np.ndarray, " B"],
    training: Training,
    bits: int,
    *,
    rounding: str = "towards-zero",
    scaled: bool = True,
    starts: int = 1,
    seed: int = 0,
) -> tuple[Network, Quantised]:
    """Of several trainings the one that quantisation harms least on its own examples; of equals, the widest margin."""
    check_integer("bits", bits, low=1, high=MOST_BITS)
    check_choice("rounding", rounding, ROUNDINGS)
    check_integer("starts", starts, low=1, high=10_000)
    check_bool("scaled", scaled)
    best: tuple[tuple[float, float], Network, Quantised] | None = None
    for start in range(starts):
        network = train(inputs, labels, training, seed=seed + start)
        quantised = quantise_network(network, bits, rounding)
        found = quantised.network(scaled)
        merit = (found.accuracy(inputs, labels), margin(found, inputs, labels))
        if best is None or merit > best[0]:
            best = (merit, network, quantised)
    assert best is not None
    return best[1], best[2]


def margin(network: Network, inputs: Float[np.ndarray, "B I"], labels: Int[np.ndarray, " B"]) -> float:
    """The least lead of the right output over the next, relative to the deviation of all outputs; negative: wrong."""
    scores = network.scores(inputs)
    rows = np.arange(len(scores))
    right = scores[rows, labels]
    scores[rows, labels] = -np.inf
    lead = (right - scores.max(axis=1)).min()
    scores[rows, labels] = right
    return float(lead / max(float(scores.std()), 1e-300))


def flipped(
    inputs: Float[np.ndarray, "B I"], labels: Int[np.ndarray, " B"]
) -> tuple[Float[np.ndarray, "C I"], Int[np.ndarray, " C"]]:
    """Every input in [0, 1] with every single pixel inverted, C = B I, and its label."""
    count = inputs.shape[1]
    images = np.repeat(inputs, count, axis=0)
    rows, pixel = np.arange(len(images)), np.tile(np.arange(count), len(inputs))
    images[rows, pixel] = 1.0 - images[rows, pixel]
    return images, np.repeat(labels, count)


def ambiguous(
    noisy: Float[np.ndarray, "C I"],
    noisy_labels: Int[np.ndarray, " C"],
    inputs: Float[np.ndarray, "B I"],
    labels: Int[np.ndarray, " B"],
) -> int:
    """How many noisy images are an image of another class: nobody can tell those."""
    same = {(image.tobytes(), int(label)) for image, label in zip(inputs, labels, strict=True)}
    known = {image for image, _ in same}
    pairs = ((image.tobytes(), int(label)) for image, label in zip(noisy, noisy_labels, strict=True))
    return sum(image in known and (image, label) not in same for image, label in pairs)


def flip_pixels(inputs: Float[np.ndarray, "B I"], pixels: int, *, seed: int) -> Float[np.ndarray, "B I"]:
    """Inputs in [0, 1] with so many pixels of each, drawn at random, inverted."""
    pixels = check_integer("pixels", pixels, low=0, high=inputs.shape[1])
    random = np.random.default_rng(seed)
    chosen = random.random(inputs.shape).argsort(axis=1) < pixels
    return np.where(chosen, 1.0 - inputs, inputs)
