"""What a server and its aide say to each other: questions about texts and pictures, and answers.

Plain data, pickled by `Connection.send`. Knows neither what a question is for, nor any model.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from pipelines.content import Category, Classifier

VIEWER = "viewer"
"""The name of the model that looks at pictures."""

Over = Callable[[], bool]
"""Whether an answer is of no more use; to be looked at now and then."""


@dataclass(frozen=True, slots=True)
class Equip:
    """The first word to an aide: where it works, and the folders of the models that it has."""

    device: str
    """`cpu`, `cuda:N`, or `auto`, as for a worker."""
    writer: Path | None = None
    """A causal language model: it answers `Write`."""
    judges: Mapping[str, Path] = field(default_factory=dict)
    """Text classifiers by name: they answer `Judge`."""
    viewer: Classifier | None = None
    """An image classifier: it answers `Look`."""
    threads: int | None = None


@dataclass(frozen=True, slots=True)
class Turn:
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    text: str


@dataclass(frozen=True, slots=True)
class Write:
    """Go on with a conversation; answered by `Written`."""

    turns: tuple[Turn, ...]
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Judge:
    """What does a classifier make of texts? Answered by `Judged`."""

    judge: str
    texts: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Seen:
    """A picture."""

    width: int
    height: int
    pixels: bytes
    """RGB, 8 bits each, in rows."""


@dataclass(frozen=True, slots=True)
class Look:
    """What is seen in a picture? Answered by `Looked`."""

    picture: Seen


Question = Write | Judge | Look


@dataclass(frozen=True, slots=True)
class Written:
    """What a language model wrote; it may break off where there were tokens enough."""

    text: str


@dataclass(frozen=True, slots=True)
class Judged:
    """For each text, the score of each label."""

    scores: tuple[Mapping[str, float], ...]


@dataclass(frozen=True, slots=True)
class Looked:
    """What is in a picture, by the highest score of any label that means it."""

    scores: Mapping[Category, float]


Answer = Written | Judged | Looked


class Tool(Protocol):
    """A model that can be asked."""

    def answer(self, question: Question, over: Over) -> Answer:
        """The answer; raises whatever it fails with. May return anything once it is `over`."""


@dataclass(frozen=True, slots=True)
class Ask:
    """A question, and the seconds within which its answer is of use."""

    id: str
    question: Question
    within_s: float


@dataclass(frozen=True, slots=True)
class Drop:
    """Nobody waits for the answer to this question any more."""

    id: str


@dataclass(frozen=True, slots=True)
class Ready:
    """One of the aide's models has been read, or why it could not be."""

    name: str
    broken: str | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    """The answer to a question."""

    id: str
    answer: Answer


@dataclass(frozen=True, slots=True)
class Unanswered:
    """A question will have no answer."""

    id: str
    why: str
    late: bool = False
    """Whether its time was over."""


def desk_of(question: Question) -> str:
    """The name of the model that a question is for."""
    match question:
        case Write():
            return "writer"
        case Judge(name, _):
            return f"judge {name}"
        case Look():
            return VIEWER


ToAide = Equip | Ask | Drop
FromAide = Ready | Answered | Unanswered
