"""What can be wrong with the bytes of a blob."""


class TypedError(ValueError):
    """A blob that is damaged, foreign, or that a budget does not allow. `code` names the reason in two words."""

    def __init__(self, message: str, code: str = "") -> None:
        super().__init__(message)
        self.code = code


class IncompatibleError(TypedError):
    """The writer's fields cannot be read as the reader's class declares them; the message names the field."""
