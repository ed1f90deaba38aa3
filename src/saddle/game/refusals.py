"""What was asked for and cannot be done, said on purpose."""


class Refused(ValueError):
    """What the user asked for cannot be done; the message says what must hold, what was got, what to do."""
