"""The one exception that a user's mistake raises; the command line turns it into a sentence."""


class UserError(Exception):
    """A wrong input, said in at most a few lines: what is wrong, where, and what to do."""
