"""The errors of xfm. A message is one sentence: what is wrong, where, and what would be right."""


class XfmError(Exception):
    """A mistake in the input rather than in the program; the command line prints it without a traceback."""


class SpecError(XfmError, ValueError):
    """A spec that does not describe a valid object."""


def nearest(name: object, legal) -> str:
    """` (did you mean 'x'?)` with the legal name that is closest to `name`, or "" if none is close."""
    import difflib

    close = difflib.get_close_matches(str(name), [str(one) for one in legal], n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
