"""How the content policy fails a request: a branch of the tree in `errors`."""

from typing import ClassVar, Literal

from server.errors import ApiError

Stage = Literal["input", "output"]
"""Whether the content policy refuses a prompt, or what was made of it."""


class Refused(ApiError):
    """The content policy does not allow the prompt, or the image."""

    begins: ClassVar[str]
    """The original's words, by which clients know it."""

    def __init__(self, stage: Stage, categories: tuple[str, ...]) -> None:
        self.stage, self.categories = stage, categories
        what = "The prompt" if stage == "input" else "The image that was made"
        super().__init__(
            f"{self.begins} {what} is not allowed by this server's content policy: "
            f"safety_violations=[{', '.join(categories)}]."
        )


class ContentPolicyViolation(Refused):
    """The content policy does not allow the prompt, or the image that was made."""

    begins = "Your request was rejected as a result of our safety system."


class ModerationBlocked(Refused):
    """The content policy does not allow the prompt, or the image, as `moderation_details` says."""

    begins = "Your request was rejected by the safety system."


class NotJudged(ApiError):
    """A classifier of the content policy gives no answer."""

    def __init__(self) -> None:
        super().__init__("The request could not be checked. Please retry after a brief delay.")
